//! What the database's errors mean for what was asked of it.

use std::io;

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
    /// No line begins at this place of a log: the room was removed or written over.
    Gap(u64),
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
/// ER_GET_ERRNO: the storage engine failed, and the text has the number of its error.
const ENGINE: u16 = 1030;
/// How that text begins where the error is `ENOSPC`.
const ENGINE_FULL: &str = "Got error 28 ";
/// Errors that say: not this server, or not now.
const AWAY: [u16; 17] = [
    1033, // ER_NOT_FORM_FILE: a table is being made (MariaDB)
    1040, // ER_CON_COUNT_ERROR: too many connections
    1047, // ER_UNKNOWN_COM_ERROR: this node is not in the cluster (Galera)
    1053, // ER_SERVER_SHUTDOWN
    1203, // ER_TOO_MANY_USER_CONNECTIONS
    1226, // ER_USER_LIMIT_REACHED: the account has as many connections as it may
    1290, // ER_OPTION_PREVENTS_STATEMENT: --read-only
    1317, // ER_QUERY_INTERRUPTED
    1615, // ER_NEED_REPREPARE
    1792, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1836, // ER_READ_ONLY_MODE
    1927, // ER_CONNECTION_KILLED (MariaDB)
    1969, // ER_STATEMENT_TIMEOUT (MariaDB)
    3024, // ER_QUERY_TIMEOUT
    3100, // ER_RUN_HOOK_ERROR (Group Replication)
    3169, // ER_SESSION_WAS_KILLED
    4031, // ER_CLIENT_INTERACTION_TIMEOUT
];

impl Fault {
    /// What it means that no connection was made. Another certificate than is asked for,
    /// or no TLS at all, is nothing that passes.
    pub fn connecting(error: Error) -> Fault {
        let refused = match &error {
            Error::Tls(_) => true,
            // What rustls refuses comes as this.
            Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
            _ => false,
        };
        match refused {
            true => Fault::Final(StoreError::Failed(error.to_string().into())),
            false => error.into(),
        }
    }

    /// What an error of the database means that has this number and message.
    fn of(number: u16, message: &str, text: String) -> Fault {
        let full = FULL.contains(&number) || number == ENGINE && message.starts_with(ENGINE_FULL);
        match number {
            number if CONFLICTS.contains(&number) => Fault::Conflict(text),
            number if AWAY.contains(&number) => Fault::Away(text),
            _ if full => Fault::Final(StoreError::Full(text.into())),
            _ => Fault::Final(StoreError::Failed(text.into())),
        }
    }

    /// Whether trying again, for a while, may help.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Final(_) | Fault::Gap(_))
    }

    /// What a client is told when trying again has not helped.
    pub fn into_store_error(self) -> StoreError {
        match self {
            Fault::Conflict(text) | Fault::Away(text) => StoreError::Failed(text.into()),
            Fault::Final(error) => error,
            Fault::Gap(place) => {
                StoreError::Failed(format!("no line begins at {place} of the room's log").into())
            }
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
                let number = number.map_or(0, MySqlDatabaseError::number);
                Fault::of(number, database.message(), text)
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
