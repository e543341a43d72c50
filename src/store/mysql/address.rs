//! Where a database is: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=…`.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use sqlx::mysql::MySqlConnectOptions;

/// What an address looks like.
const FORM: &str = "give mysql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for what is special";
/// What may stand after the `?`.
const PARAMETERS: [&str; 5] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key", "socket"];
/// Those of them that name files which must be there.
const FILES: [&str; 3] = ["ssl-ca", "ssl-cert", "ssl-key"];

/// A database and how to log in to it. Printing it shows no user and no password.
#[derive(Clone)]
pub struct Address {
    /// How to connect.
    pub options: MySqlConnectOptions,
    /// The database's name.
    pub database: String,
    /// The files that it names, each with the parameter that does.
    files: Vec<(&'static str, PathBuf)>,
}

impl Address {
    /// Reads the address. The error is one line, and does not repeat the password.
    pub fn new(url: &str) -> Result<Address, String> {
        let unreadable = || format!("the URL cannot be read: {FORM}");
        let (rest, query) = match url.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (url, None),
        };
        let mut files = Vec::new();
        for parameter in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if !PARAMETERS.contains(&name) {
                let known = PARAMETERS.join(", ");
                return Err(format!("unknown parameter of the URL: there are {known}; {FORM}"));
            }
            if let Some(name) = FILES.into_iter().find(|&file| file == name) {
                files.push((name, path(value)));
            }
        }
        let database = rest.splitn(4, '/').nth(3).filter(|name| !name.is_empty());
        let database = database.ok_or_else(|| format!("the URL names no database: {FORM}"))?;
        // What stands behind the first of these in a password would be taken for the name.
        if database.contains(['/', '@']) || url.contains(|c: char| c == '#' || c.is_control()) {
            return Err(unreadable());
        }
        let database = percent_decode_str(database).decode_utf8();
        let database = database.map_err(|_| format!("the database's name is not UTF-8: {FORM}"))?;
        let parsed = url.parse::<MySqlConnectOptions>();
        // The parser's own words may repeat the URL.
        let options = parsed.map_err(|_| unreadable())?;
        Ok(Address { options, database: database.into_owned(), files })
    }

    /// Looks whether the files that it names can be read. The error is one line.
    pub fn check_files(&self) -> Result<(), String> {
        for (name, path) in &self.files {
            fs::read(path).map_err(|error| format!("{name} {path:?} cannot be read: {error}"))?;
        }
        Ok(())
    }
}

/// The path in a value of the query, where a `+` is a blank.
fn path(value: &str) -> PathBuf {
    let value = value.replace('+', " ");
    PathBuf::from(percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        write!(out, "mysql://{host}:{port}/{}", self.database)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_user_and_password() {
        let address = Address::new("mysql://me:s%2Fcret@db:3307/chat?ssl-mode=REQUIRED").unwrap();
        assert_eq!(format!("{address} {address:?}"), "mysql://db:3307/chat mysql://db:3307/chat");
    }

    #[test]
    fn files_are_those_that_are_named() {
        let address = Address::new("mysql://db/chat?ssl-ca=/dev/null&ssl-key=/no+such%0Afile");
        let error = address.unwrap().check_files().unwrap_err();
        assert!(error.starts_with(r#"ssl-key "/no such\nfile" cannot be read: "#), "{error}");
        Address::new("mysql://db/chat?socket=/no/such").unwrap().check_files().unwrap();
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for url in [
            "mysql://me:secret@db",
            "mysql://me:secret@db/",
            "mysql://me:secret@db:port/chat",
            "mysql://me:secret@db/chat?sslmode=secret",
            "mysql://me:secret@db/chat?ssl-mode=secret",
            "mysql://me:secret@db/%FF",
            "mysql://me:secret@db/chat\nsecret",
            "mysql://me:no?secret@db/chat",
            "mysql://me:no&?secret=@db/chat",
            "mysql://me:12/secret@db/chat",
            "mysql://me:/secret@db/chat",
            "mysql://me:12#secret@db/chat",
        ] {
            let error = Address::new(url).unwrap_err();
            assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
        }
    }
}
