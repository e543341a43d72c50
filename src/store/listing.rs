//! All rooms of a store, and each as it is now: what a copy asks for.

use std::sync::Arc;

use crate::name::RoomName;
use crate::store::file::look;
use crate::store::snapshot::Snapshot;
use crate::store::window::Usage;
use crate::store::{Store, StoreError, blocking};

impl Store {
    /// The rooms that somebody has written to, each with about how many bytes, in no
    /// particular order.
    pub async fn rooms(&self) -> Result<Vec<(RoomName, u64)>, StoreError> {
        match self.clone() {
            Store::Files(directory) => blocking(move || directory.rooms()).await,
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => mysql.rooms().await,
        }
    }

    /// The state of this room's log now. Creates nothing.
    pub async fn snapshot(
        &self,
        room: &RoomName,
        usage: &Arc<Usage>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        match self {
            Store::Files(directory) => {
                let (path, usage) = (directory.log_path(room), usage.clone());
                blocking(move || look::open(&path, &usage)).await
            }
            #[cfg(feature = "mysql")]
            Store::MySql(mysql) => mysql.room(room).snapshot(usage).await,
        }
    }
}
