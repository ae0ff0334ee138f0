//! `sealpost pki`: a certificate authority in a folder.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealpost_runtime::Clock;
use sealpost_runtime::identity::{Role, TrustDomain};
use serde_json::json;

use crate::output::Output;
use crate::pki::{Authority, BusinessKeys, HostNames, Identity};

/// Make and keep the certificates of a deployment
#[derive(Args)]
pub struct Pki {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new authority
    Init {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
        /// Trust domain of every SPIFFE ID
        #[arg(long, default_value = "sealpost.internal")]
        trust_domain: TrustDomain,
    },
    /// Issue a service's or a person's certificate
    Issue {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
        /// vault, gateway, store, retention, directory, relay, operator or auditor
        #[arg(long)]
        role: Role,
        /// Name within the role
        #[arg(long)]
        name: Option<String>,
        /// DNS names as well, for ordinary gRPC clients: Sealpost's own go by the role alone
        #[arg(long)]
        dns: Vec<String>,
        /// IP addresses as well
        #[arg(long)]
        ip: Vec<IpAddr>,
        /// Where the certificate and its private key go
        #[arg(long)]
        out: PathBuf,
        /// Days until it expires
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// Issue the certificate of a public face (gateway, relay)
    IssuePublic {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
        /// File name of the certificate, without extension
        #[arg(long)]
        name: String,
        /// DNS names
        #[arg(long)]
        dns: Vec<String>,
        /// IP addresses
        #[arg(long)]
        ip: Vec<IpAddr>,
        /// Where the certificate and its private key go
        #[arg(long)]
        out: PathBuf,
        /// Days until it expires
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// Make a business's own keys, or show where their public halves are: the operator registers those with the key vault
    BusinessKeys {
        /// Where the keys go: hpke.key, signing.key and their public halves, hpke.pub and signing.pub
        #[arg(long)]
        out: PathBuf,
    },
    /// Revoke a certificate by serial or subject; services notice within seconds
    Revoke {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
        /// Serial (hex) or SPIFFE ID
        which: String,
    },
    /// Make the revocation list anew; it is current for 30 days
    RenewCrl {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
    },
    /// List what was issued
    List {
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
    },
}

impl Pki {
    /// Does it.
    pub fn run(self, output: Output) -> anyhow::Result<()> {
        // Certificates live by real time, as TLS checks it.
        let now = Clock::system().now();
        match self.command {
            Command::Init { dir, trust_domain } => {
                let authority = Authority::create(&dir, &trust_domain, now)?;
                output.say(
                    &format!("authority of {trust_domain} made in {}", dir.display()),
                    &json!({"ca": authority.certificate(), "crl": authority.crl()}),
                )
            }
            Command::Issue {
                dir,
                role,
                name,
                dns,
                ip,
                out,
                days,
            } => {
                let names = HostNames { dns, addresses: ip };
                let authority = Authority::open(&dir)?;
                let issued = authority.issue(role, name.as_deref(), &names, days, &out, now)?;
                show(output, &issued)
            }
            Command::IssuePublic {
                dir,
                name,
                dns,
                ip,
                out,
                days,
            } => {
                anyhow::ensure!(
                    !dns.is_empty() || !ip.is_empty(),
                    "give at least one --dns or --ip"
                );
                let names = HostNames { dns, addresses: ip };
                show(
                    output,
                    &Authority::open(&dir)?.issue_public(&name, &names, days, &out, now)?,
                )
            }
            Command::BusinessKeys { out } => {
                let keys = BusinessKeys::load_or_make(&out)?;
                output.say(
                    &format!(
                        "HPKE public key    {}\nsigning public key {}",
                        keys.hpke_public_file.display(),
                        keys.signing_public_file.display()
                    ),
                    &json!({"hpke_public_key": keys.hpke_public_file, "signing_public_key": keys.signing_public_file}),
                )
            }
            Command::Revoke { dir, which } => {
                let revoked = Authority::open(&dir)?.revoke(&which, now)?;
                let subjects: Vec<_> = revoked
                    .iter()
                    .map(|entry| format!("{} ({})", entry.subject, entry.serial))
                    .collect();
                output.say(
                    &format!("revoked {}", subjects.join(", ")),
                    &json!({"revoked": revoked}),
                )
            }
            Command::RenewCrl { dir } => {
                let authority = Authority::open(&dir)?;
                authority.renew_crl(now)?;
                output.say(
                    &format!("{} is current for 30 days", authority.crl().display()),
                    &json!({"crl": authority.crl()}),
                )
            }
            Command::List { dir } => {
                let ledger = Authority::open(&dir)?.ledger()?;
                let mut lines = Vec::new();
                for entry in &ledger.issued {
                    let state = if entry.revoked_at_ms.is_some() {
                        "revoked"
                    } else if entry.not_after_ms < now.as_millis() {
                        "expired"
                    } else {
                        "in force"
                    };
                    lines.push(format!("{}  {state:9} {}", entry.serial, entry.subject));
                }
                output.say(&lines.join("\n"), &json!({"issued": ledger.issued}))
            }
        }
    }
}

fn show(output: Output, identity: &Identity) -> anyhow::Result<()> {
    output.say(
        &format!(
            "certificate {}\nprivate key {}",
            identity.certificate.display(),
            identity.private_key.display()
        ),
        &json!({"certificate": identity.certificate, "private_key": identity.private_key}),
    )
}
