//! Encryption that anybody could listen to, or that anybody could answer.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuage_testkit::postgres::{Cluster, Durability, Stop};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Address;
use crate::postgres::connect::Target;

/// A server that encrypts, with a certificate for `localhost`, and lets `certified` in by
/// certificate alone.
struct Encrypting {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Encrypting {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        let cluster = Cluster::new(Durability::Fast);
        let data = cluster.socket_folder().join("data");
        let (certificate, key) = authority.sign("localhost");
        write_for_server(&data, "server.crt", &certificate);
        write_for_server(&data, "server.key", &key);
        write_for_server(&data, "clients.crt", &authority.pem);
        let access = data.join("pg_hba.conf");
        let others = std::fs::read_to_string(&access).unwrap();
        let access_by_certificate = "hostssl all certified 127.0.0.1/32 cert\n";
        std::fs::write(&access, format!("{access_by_certificate}{others}")).unwrap();
        let database = cluster.database();
        database.execute("CREATE ROLE certified LOGIN");
        database.execute("CREATE ROLE known LOGIN PASSWORD 'secret'");
        for (name, value) in [
            ("ssl", "on"),
            ("ssl_cert_file", "server.crt"),
            ("ssl_key_file", "server.key"),
            ("ssl_ca_file", "clients.crt"),
        ] {
            database.execute(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        }
        drop(database);
        cluster.restart(Stop::Fast);

        let encrypting = Self { cluster, folder };
        encrypting.write("authority.crt", &authority.pem);
        encrypting.write("server.crt", &certificate);
        encrypting.write("stranger.crt", &Authority::new("stranger").pem);
        let (certificate, key) = authority.sign("certified");
        encrypting.write("client.crt", &certificate);
        encrypting.write("client.key", &key);
        encrypting
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether the connection that these parameters make is encrypted, or why there is none. `@`
    /// stands for the folder of the client's files.
    async fn connect(&self, user: &str, host: &str, parameters: &str) -> Result<bool, String> {
        let port = self.cluster.address().port();
        let parameters = parameters.replace('@', &self.folder.path().display().to_string());
        // The name may mean another address as well, where nobody listens.
        let url =
            format!("postgres://{user}@{host}:{port}/postgres?hostaddr=127.0.0.1&{parameters}");
        let target = Target::of(&Address { url, password: None })?;
        let client = target.connect().await.map_err(|error| error.to_string())?;
        let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let rows = client.query_typed(ask, &[]).await.map_err(|error| error.to_string())?;
        Ok(rows[0].get(0))
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }
}

fn pem(what: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

/// The server insists on a key that nobody else may read, and may run as another user than we.
fn write_for_server(data: &Path, name: &str, text: &str) {
    let path = data.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(data).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[tokio::test]
async fn a_server_is_believed_as_far_as_the_mode_says() {
    let server = Encrypting::start();
    let encrypted = [
        ("localhost", ""),
        ("localhost", "sslmode=prefer"),
        ("localhost", "sslmode=require"),
        ("other.example", "sslmode=require"),
        ("localhost", "sslmode=verify-full&sslrootcert=@/authority.crt"),
        ("other.example", "sslmode=verify-ca&sslrootcert=@/authority.crt"),
        ("other.example", "sslmode=require&sslrootcert=@/authority.crt"),
        // The server's own certificate is trusted as it is.
        ("localhost", "sslmode=verify-full&sslrootcert=@/server.crt"),
    ];
    for (host, parameters) in encrypted {
        assert_eq!(server.connect("postgres", host, parameters).await, Ok(true), "{parameters}");
    }
    let plain = server.connect("postgres", "localhost", "sslmode=disable").await;
    assert_eq!(plain, Ok(false));
    // That the password is asked for through this very connection, and not through another's.
    let bound = server.connect("known:secret", "localhost", "channel_binding=require").await;
    assert_eq!(bound, Ok(true));
    let unbound = "sslmode=disable&channel_binding=require";
    let why = server.connect("known:secret", "localhost", unbound).await.unwrap_err();
    assert!(why.contains("agree on how to log in") && why.contains("channel binding"), "{why}");

    let refused = [
        ("other.example", "sslmode=verify-full&sslrootcert=@/authority.crt", "not valid for name"),
        ("other.example", "sslmode=verify-full&sslrootcert=@/server.crt", "not valid for name"),
        ("localhost", "sslmode=verify-full&sslrootcert=@/stranger.crt", "UnknownIssuer"),
        ("localhost", "sslmode=verify-ca&sslrootcert=@/stranger.crt", "UnknownIssuer"),
        ("localhost", "sslmode=require&sslrootcert=@/stranger.crt", "UnknownIssuer"),
    ];
    for (host, parameters, expected) in refused {
        let why = server.connect("postgres", host, parameters).await.unwrap_err();
        assert!(why.contains("check sslmode") && why.contains(expected), "{parameters}: {why}");
    }
}

#[tokio::test]
async fn a_certificate_of_ours_lets_us_in() {
    let server = Encrypting::start();
    let ours = "sslmode=require&sslcert=@/client.crt&sslkey=@/client.key";
    assert_eq!(server.connect("certified", "localhost", ours).await, Ok(true));
    let why = server.connect("certified", "localhost", "sslmode=require").await.unwrap_err();
    assert!(why.contains("certificate"), "{why}");
    let wrong = [
        ("sslcert=@/client.crt&sslkey=@/none", "sslkey: "),
        ("sslcert=@/none&sslkey=@/client.key", "sslcert: "),
        ("sslcert=@/client.key&sslkey=@/client.key", "sslcert: "),
        ("sslcert=@/server.crt&sslkey=@/client.key", "do not fit together"),
        ("sslmode=verify-ca&sslrootcert=@/client.key", "sslrootcert: "),
    ];
    for (parameters, expected) in wrong {
        let why = server.connect("certified", "localhost", parameters).await.unwrap_err();
        assert!(why.contains(expected), "{parameters}: {why}");
    }
}
