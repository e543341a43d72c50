//! TLS to the database: what each `ssl-mode` lets through, and that what it does not is told at once.

mod common;

use common::cli::fails;
use common::database::{Database, DatabaseServer, tested_server};
use common::dir::TempDir;
use common::server::Server;
use common::{DEADLINE, output_within, tool_command};
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How soon a mistake is told: less than a start waits for a database that is not there.
const AT_ONCE: Duration = Duration::from_secs(8);

/// The certificate of somebody who has signed nothing.
const NOBODYS_CA: &str = "-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUHqXuTbWhwnu9i+SFzz+CKo1RzAswCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLbm9ib2R5J3MgQ0EwIBcNMjYxMTI1MDQzNTA5WhgPMjEyNjEx
MDEwNDM1MDlaMBYxFDASBgNVBAMMC25vYm9keSdzIENBMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEnzRkbVDYhQHI8NHFJyAMcnrWrZ/sBudYmbASO3QFCjnDWAXs
AmwRqlSpg7KOfopwg4SM+y7K6JnxtbJvk+UJdKNTMFEwHQYDVR0OBBYEFEZqSqVi
5Q5TN70gnSVddkd1mmznMB8GA1UdIwQYMBaAFEZqSqVi5Q5TN70gnSVddkd1mmzn
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgCsSj3N+mwYDLnXbd
pbjAfOgty2YDRRRsIM+tnhF+vBECIQCqUEbITLaSIibq33298Oormz0kWYA5eJxa
S++IlZOmdA==
-----END CERTIFICATE-----
";

/// An account that may only come over TLS; gives its URL. `None`, told aloud, where the database
/// is without it.
fn account(database: &Database) -> Option<String> {
    if database.server().kind() != "mysql" {
        // Past what the test runner keeps to itself.
        let said =
            "NOT HERE: MySQL makes its certificates itself, and MariaDB does so from 11.4 on\n";
        io::stderr().write_all(said.as_bytes()).expect("said");
        return None;
    }
    let url = database.account("over-tls", "BY");
    database.query(&format!("ALTER USER {} REQUIRE SSL", database.name()));
    Some(url)
}

/// Brings the certificate that a container's MySQL has made itself, and signed its own with.
fn fetch_ca(server: &DatabaseServer, to: &str) {
    let filter = format!("publish={}", server.address().port());
    let mut ps = tool_command("docker");
    ps.args(["ps", "--quiet", "--filter", &filter]);
    let id = String::from_utf8(output_within(&mut ps, DEADLINE).stdout).expect("UTF-8");
    let from = format!("{}:/var/lib/mysql/ca.pem", id.trim());
    let output = output_within(tool_command("docker").args(["cp", &from, to]), DEADLINE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Checks that a server does not start, and says so soon.
fn refused(url: &str, says: &str) {
    let start = Instant::now();
    fails(&["--listen", "127.0.0.1:0", "--store", url], &[], 1, &[says]);
    assert!(start.elapsed() < AT_ONCE, "{says}: only after {:?}", start.elapsed());
}

/// Modes that let it through: the account is told apart by whether it came over TLS.
#[test]
fn encrypted() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let Some(url) = account(&database) else { return };
    let ca = dir.file("ca.pem");
    let ca = ca.to_str().expect("UTF-8");
    fetch_ca(database.server(), ca);
    refused(&format!("{url}?ssl-mode=DISABLED"), "Access denied");
    for mode in ["PREFERRED", "REQUIRED", &format!("VERIFY_CA&ssl-ca={ca}")] {
        let server = Server::on(format!("{url}?ssl-mode={mode}"));
        server.say("room", "omri", mode.split('&').next().expect("a mode"));
        assert_eq!(server.get("/-/health").status, 200, "{mode}");
    }
}

/// Another certificate than is asked for is a mistake that does not pass: a start had tried again
/// for ten seconds before it said so.
#[test]
fn not_verified() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let Some(url) = account(&database) else { return };
    let [ca, nobodys] = ["ca.pem", "nobodys.pem"].map(|name| dir.file(name));
    let [ca, nobodys] = [&ca, &nobodys].map(|path| path.to_str().expect("UTF-8"));
    fetch_ca(database.server(), ca);
    fs::write(nobodys, NOBODYS_CA).expect("written");
    refused(&format!("{url}?ssl-mode=VERIFY_CA&ssl-ca={nobodys}"), "invalid peer certificate");
    refused(&format!("{url}?ssl-mode=VERIFY_CA"), "invalid peer certificate");
    // It is made out for no host at all.
    refused(&format!("{url}?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"), "not valid for");
}

/// A database without TLS, where TLS is asked for.
#[test]
fn not_there() {
    let server = DatabaseServer::at(&tested_server());
    let offered = server.query("SHOW VARIABLES LIKE 'have_ssl'").expect("a variable");
    if !offered.contains("DISABLED") {
        return; // It has it.
    }
    let database = Database::new(&tested_server());
    for mode in ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"] {
        refused(&format!("{}?ssl-mode={mode}", database.url()), "does not support TLS");
    }
    Server::on(format!("{}?ssl-mode=PREFERRED", database.url())).say("room", "omri", "hi");
}

/// A file that cannot be read is named with its parameter, also to who copies: a start had tried
/// again for ten seconds, and said only that there is no such file.
#[test]
fn files_not_there() {
    let (database, dir) = (Database::new(&tested_server()), TempDir::new());
    let [missing, files] = [dir.file("missing.pem"), dir.to_path_buf()];
    let [missing, files] = [&missing, &files].map(|path| path.to_str().expect("UTF-8"));
    for (parameter, path) in [("ssl-ca", missing), ("ssl-ca", files), ("ssl-cert", missing)] {
        let url = format!("{}?ssl-mode=VERIFY_CA&{parameter}={path}", database.url());
        let says = format!("{parameter} {path:?} cannot be read: ");
        refused(&url, &says);
        let start = Instant::now();
        fails(&["copy", files, &url], &[], 1, &["TO", &says]);
        assert!(start.elapsed() < AT_ONCE, "only after {:?}", start.elapsed());
    }
}
