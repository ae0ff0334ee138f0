//! What a contained process can still do. Containment holds for a whole process and for good, so each test runs itself again.

use std::{
    fs, io,
    net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::Command,
    thread,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket},
    process::{Pid, test_kill_process},
};
use sealpost_database::testing::TestDatabase;
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_key_vault::containment::{Layer, contain};

use crate::fixture::config;

const INSIDE: &str = "SEALPOST_TEST_CONTAINED";

/// Runs the test of that name again, inside; answers whether this is there.
fn inside(name: &str, foreign: &str) -> Option<String> {
    if let Ok(foreign) = std::env::var(INSIDE) {
        return Some(foreign);
    }
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, foreign)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let erred = String::from_utf8_lossy(&again.stderr);
    assert!(
        again.status.success() && said.contains("1 passed"),
        "{said}{erred}"
    );
    None
}

fn denied<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

#[tokio::test]
async fn a_contained_vault_reaches_its_own_files_and_ports_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("somebody's");
    fs::write(&file, "secret").unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let foreign = format!("{} {}", elsewhere.local_addr().unwrap(), file.display());
    let name = "containment::a_contained_vault_reaches_its_own_files_and_ports_and_no_others";
    let Some(foreign) = inside(name, &foreign) else {
        return;
    };
    let (address, file) = foreign.split_once(' ').unwrap();
    let file = PathBuf::from(file);

    let place = TestDatabase::sqlite();
    let relay = SigningKey::generate(&mut OsEntropy).unwrap();
    let config = config(&place, &relay);
    // As it is without: the checks below could fail.
    assert!(fs::read(&file).is_ok() && TcpStream::connect(address).is_ok());
    assert!(Command::new("/bin/true").status().is_ok());
    let other_port = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_port = other_port.local_addr().unwrap();

    contain(&config).unwrap();

    let own = place.folder().join("new");
    fs::write(&own, "kept").unwrap();
    assert_eq!(fs::read(&own).unwrap(), b"kept");
    fs::rename(&own, place.folder().join("renamed")).unwrap();
    let untouched = || {
        denied(fs::read(&file))
            && denied(fs::write(&file, ""))
            && denied(fs::remove_file(&file))
            && denied(fs::write(file.with_file_name("other"), ""))
    };
    assert!(untouched());
    // Threads that begin later are no freer.
    assert!(thread::scope(|scope| scope.spawn(untouched).join()).unwrap());
    assert!(denied(TcpStream::connect(address)));
    assert!(denied(TcpListener::bind(other_port)));
    // What Landlock does not see of TCP: another protocol that carries it, and a connection that is made by sending.
    let carried = socket(
        AddressFamily::INET,
        SocketType::STREAM,
        Some(ipproto::MPTCP),
    );
    assert_eq!(carried.map(drop), Err(Errno::NOSYS));
    let plain = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let fast = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
    let to: SocketAddrV4 = address.parse().unwrap();
    assert_eq!(sendto(&plain, b"out", fast, &to), Err(Errno::NOSYS));
    // Port 0, as configured.
    TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(Command::new("/bin/true").status().is_err());
    // Neither by a name's question nor by another service of the machine.
    assert!(UdpSocket::bind("127.0.0.1:0").is_err());
    assert!(UnixDatagram::unbound().is_err());
    let parent = Pid::from_raw(i32::try_from(std::os::unix::process::parent_id()).unwrap());
    assert!(test_kill_process(parent.unwrap()).is_err());
}

#[tokio::test]
async fn folders_of_everybody_are_no_folders_of_the_vaults() {
    let name = "containment::folders_of_everybody_are_no_folders_of_the_vaults";
    if inside(name, "-").is_none() {
        return;
    }
    let place = TestDatabase::sqlite();
    let relay = SigningKey::generate(&mut OsEntropy).unwrap();
    let mut config = config(&place, &relay);
    config.root_key = PathBuf::from("/vault.json");
    let refused = contain(&config).unwrap_err();
    assert!(refused.to_string().contains("folders of their own"));
}

#[tokio::test]
async fn a_layer_is_left_out_by_its_name_alone() {
    let name = "containment::a_layer_is_left_out_by_its_name_alone";
    if inside(name, "-").is_none() {
        return;
    }
    let place = TestDatabase::sqlite();
    let relay = SigningKey::generate(&mut OsEntropy).unwrap();
    let mut config = config(&place, &relay);
    config.containment.without = vec![Layer::Seccomp, Layer::Landlock];
    contain(&config).unwrap();
    assert!(Command::new("/bin/true").status().is_ok());
    config.containment.without = vec![Layer::Landlock];
    contain(&config).unwrap();
    assert!(fs::read("/etc/hostname").is_ok());
    assert!(Command::new("/bin/true").status().is_err());
}
