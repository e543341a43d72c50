//! The directory that holds one file a room.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::name::RoomName;

/// The rooms' directory. `<data>/<room>.log` is exactly what a reader is sent.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

/// Tells a file from another one under the same name (`stat(2)`: device and inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The identity in this answer of `stat`.
    pub fn of(meta: &fs::Metadata) -> FileId {
        FileId { device: meta.dev(), inode: meta.ino() }
    }
}

impl Directory {
    /// Makes the directory where there is none, and checks that it can be written.
    pub fn open(path: &Path) -> io::Result<Directory> {
        fs::create_dir_all(path)?;
        let directory = Directory { path: path.canonicalize()? };
        directory.probe()?;
        Ok(directory)
    }

    /// Opens a directory that is there; whether it can be written is not looked at.
    pub fn open_to_read(path: &Path) -> io::Result<Directory> {
        fs::read_dir(path)?;
        Ok(Directory { path: path.canonicalize()? })
    }

    /// Whether both are one directory.
    pub fn is(&self, other: &Directory) -> bool {
        let id = |path: &Path| fs::metadata(path).map(|meta| FileId::of(&meta)).ok();
        self.path == other.path || id(&self.path).is_some_and(|this| id(&other.path) == Some(this))
    }

    /// The rooms that have a file, each with its size in bytes; other files are none.
    pub fn rooms(&self) -> io::Result<Vec<(RoomName, u64)>> {
        let mut rooms = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(room) = name.to_str().and_then(RoomName::from_file_name) else { continue };
            match fs::metadata(self.path.join(&name)) {
                Ok(meta) if meta.is_file() => rooms.push((room, meta.size())),
                // Removed meanwhile, or a link to nowhere.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(rooms)
    }

    /// Where it is: an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a room's file.
    pub fn log_path(&self, room: &RoomName) -> PathBuf {
        self.path.join(room.to_file_name())
    }

    /// Writes, syncs and removes a small file: whether the medium takes data now.
    /// No room's file begins with a dot.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.path.join(format!(".probe-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let written = file.write_all(b"ok\n").and_then(|()| file.sync_data());
        // In containers that share a directory, process ids are the same.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => written.and(Err(error)),
            _ => written,
        }
    }
}

/// Makes new names in the file's directory durable (`fsync(2)`, notes).
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
