//! What a server asks of its database, taken from the bytes between them: each statement, how often
//! it ran, and the errors that were answered.
//!
//! The packets are those of the MySQL client/server protocol, without TLS and without compression.

use std::collections::{BTreeMap, HashMap};

/// The commands that are looked at: the first byte of a packet that begins one.
const QUERY: u8 = 0x03;
const PING: u8 = 0x0e;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;

/// The first byte of an answer that a statement was prepared, and of an error.
const OK: u8 = 0x00;
const ERROR: u8 = 0xff;

/// All that was asked on all connections.
#[derive(Default)]
pub struct Asked {
    /// How often each statement ran, and `PING`.
    pub statements: BTreeMap<String, usize>,
    /// The numbers of the errors, in their order.
    pub errors: Vec<u16>,
}

/// One connection, as far as it was read along.
#[derive(Default)]
pub struct Talk {
    sent: Vec<u8>,
    came: Vec<u8>,
    /// What is being prepared: the answer has its number.
    preparing: Option<String>,
    prepared: HashMap<u32, String>,
}

impl Talk {
    /// The server sends these bytes.
    pub fn sends(&mut self, bytes: &[u8], asked: &mut Asked) {
        self.sent.extend_from_slice(bytes);
        while let Some((number, packet)) = next(&mut self.sent) {
            let (Some((&command, rest)), 0) = (packet.split_first(), number) else { continue };
            let text = || String::from_utf8_lossy(rest).into_owned();
            let statement = match command {
                QUERY => text(),
                PING => "PING".to_string(),
                EXECUTE => self.prepared[&id(rest)].clone(),
                PREPARE => {
                    self.preparing = Some(text());
                    continue;
                }
                _ => continue,
            };
            *asked.statements.entry(statement).or_default() += 1;
        }
    }

    /// These bytes come back.
    pub fn comes(&mut self, bytes: &[u8], asked: &mut Asked) {
        self.came.extend_from_slice(bytes);
        while let Some((_, packet)) = next(&mut self.came) {
            let Some((&first, rest)) = packet.split_first() else { continue };
            match (first, self.preparing.take()) {
                (ERROR, _) => asked.errors.push(u16::from_le_bytes([rest[0], rest[1]])),
                (OK, Some(statement)) => drop(self.prepared.insert(id(rest), statement)),
                _ => {}
            }
        }
    }
}

/// The number of a prepared statement, which stands first.
fn id(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// Takes the next whole packet: its number within the command, and what is in it.
fn next(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let &[a, b, c, number] = bytes.first_chunk()?;
    let end = 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
    let packet = bytes.get(4..end)?.to_vec();
    bytes.drain(..end);
    Some((number, packet))
}
