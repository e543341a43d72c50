//! What the database's errors mean for what was asked of it.

use sqlx::Error;
use sqlx::mysql::MySqlDatabaseError;

use crate::store::StoreError;

/// How an attempt failed.
#[derive(Debug)]
pub enum Fault {
    /// The transaction was rolled back because of another one; nothing is left of it.
    Conflict(String),
    /// The connection or the server is gone, or does not take writes for now. At a
    /// commit it is not known whether that took place.
    Away(String),
    /// Trying again does not help.
    Final(StoreError),
}

/// Errors that say: another transaction went first
/// (MySQL: Server Error Message Reference; MariaDB: Error Codes).
const CONFLICTS: [u16; 6] = [
    1020, // ER_CHECKREAD: the row changed since it was read (MariaDB)
    1062, // ER_DUP_ENTRY: another node's line is there, its room's row comes next (Galera)
    1180, // ER_ERROR_DURING_COMMIT: also a node that was just cut off (Galera)
    1205, // ER_LOCK_WAIT_TIMEOUT
    1213, // ER_LOCK_DEADLOCK: also a certification conflict of Galera
    3101, // ER_TRANSACTION_ROLLBACK_DURING_COMMIT (Group Replication)
];
/// Errors that say: there is no room left.
const FULL: [u16; 5] = [
    3,    // EE_WRITE
    28,   // ENOSPC
    1021, // ER_DISK_FULL
    1026, // ER_ERROR_ON_WRITE
    1114, // ER_RECORD_FILE_FULL
];
/// Errors that say: not this server, or not now.
const AWAY: [u16; 15] = [
    1033, // ER_NOT_FORM_FILE: a table is being made (MariaDB)
    1040, // ER_CON_COUNT_ERROR: too many connections
    1047, // ER_UNKNOWN_COM_ERROR: this node is not in the cluster (Galera)
    1053, // ER_SERVER_SHUTDOWN
    1203, // ER_TOO_MANY_USER_CONNECTIONS
    1290, // ER_OPTION_PREVENTS_STATEMENT: --read-only
    1317, // ER_QUERY_INTERRUPTED
    1615, // ER_NEED_REPREPARE
    1792, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1836, // ER_READ_ONLY_MODE
    1927, // ER_CONNECTION_KILLED (MariaDB)
    3100, // ER_RUN_HOOK_ERROR (Group Replication)
    3169, // ER_SESSION_WAS_KILLED
    4031, // ER_CLIENT_INTERACTION_TIMEOUT
    3024, // ER_QUERY_TIMEOUT
];

impl Fault {
    /// Whether trying again, for a while, may help.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Final(_))
    }

    /// What a client is told when trying again has not helped.
    pub fn into_store_error(self) -> StoreError {
        match self {
            Fault::Conflict(text) | Fault::Away(text) => StoreError::Failed(text.into()),
            Fault::Final(error) => error,
        }
    }

    /// No answer came in time.
    pub fn timed_out() -> Fault {
        Fault::Away("the database did not answer in time".to_owned())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let text = error.to_string();
        match error {
            Error::Database(database) => {
                let number = database.try_downcast_ref::<MySqlDatabaseError>();
                match number.map_or(0, MySqlDatabaseError::number) {
                    number if CONFLICTS.contains(&number) => Fault::Conflict(text),
                    number if AWAY.contains(&number) => Fault::Away(text),
                    number if FULL.contains(&number) => Fault::Final(StoreError::Full(text.into())),
                    _ => Fault::Final(StoreError::Failed(text.into())),
                }
            }
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut => {
                Fault::Away(text)
            }
            _ => Fault::Final(StoreError::Failed(text.into())),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Final(error)
    }
}
