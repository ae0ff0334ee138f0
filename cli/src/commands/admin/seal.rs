//! `sealpost admin vault init|unseal|seal|change-provider|status`: how the key vault's root key comes into memory and leaves it.
//!
//! Secrets are read from a file or from standard input, never from the command line, which other processes of the machine see.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use sealpost_proto::vault::v1::new_provider::Provider as Chosen;
use sealpost_proto::vault::v1::seal_service_client::SealServiceClient;
use sealpost_proto::vault::v1::unseal_request::Secret;
use sealpost_proto::vault::v1::{
    ChangeProviderRequest, Configured, GetSealStatusRequest, InitialiseRequest, NewProvider,
    Passphrase, SealRequest, SealState, SealStatus, Sharing, UnsealRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use zeroize::Zeroizing;

use super::access::{Access, failed};
use crate::output::Output;
use crate::suite::service::Service;

#[derive(Subcommand)]
pub enum SealCommand {
    /// Show whether the key vault is sealed, and by what
    Status,
    /// Make the root key, keyring and database of a key vault that has none; it is sealed afterwards
    Init(NewSeal),
    /// Unseal the key vault
    ///
    /// With shares, each holder runs it: the vault unseals with the last one that is needed. Each of several vaults is unsealed by
    /// itself: name it with --address.
    Unseal(Unseal),
    /// Wipe every key from the key vault's memory; it serves nothing until it is unsealed
    Seal,
    /// Seal the root key with another provider, or anew with the same one; the key vault serves on
    ///
    /// New shares count once enough of them were given with `unseal`; until then what unsealed the vault before does.
    ChangeProvider(Change),
}

#[derive(Args)]
pub struct Change {
    #[command(flatten)]
    new: NewSeal,
    /// What unseals the vault now, where persons do: the file that holds the passphrase, or a share on each line, or - for standard
    /// input
    #[arg(long, value_name = "FILE")]
    present_secret_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct NewSeal {
    /// What seals the root key
    #[arg(long)]
    provider: Provider,
    /// With `shamir`: how many shares are made, one for each holder
    #[arg(long, required_if_eq("provider", "shamir"), value_parser = clap::value_parser!(u8).range(2..))]
    shares: Option<u8>,
    /// With `shamir`: how many of them unseal
    #[arg(long, required_if_eq("provider", "shamir"), value_parser = clap::value_parser!(u8).range(2..))]
    threshold: Option<u8>,
    /// With `passphrase`: the file that holds it, or - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    secret_file: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// A key in a file that the vault's configuration names: unseals by itself
    KeyFile,
    /// A key in a PKCS#11 token that the vault's configuration names: unseals by itself
    Pkcs11,
    /// A passphrase of 12 to 1,024 bytes, which a person gives at each start
    Passphrase,
    /// Shares, some of which their holders give at each start
    Shamir,
    /// No secret at all: for development
    Development,
}

#[derive(Args)]
pub struct Unseal {
    /// The file that holds the passphrase, or a share on each line, or - for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    secret_file: PathBuf,
}

impl SealCommand {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        let mut seal = access.operator.seal(&access.address(Service::KeyVault)?)?;
        match self {
            Self::Status => output_of(&status(&mut seal).await?, &[], output),
            Self::Init(new) => {
                let provider = Some(new.provider(output)?);
                let request = InitialiseRequest { provider };
                let answer = seal
                    .initialise(request)
                    .await
                    .map_err(failed(Service::KeyVault))?
                    .into_inner();
                output_of(&answer.status.unwrap_or_default(), &answer.shares, output)
            }
            Self::Unseal(how) => {
                let now = status(&mut seal).await?;
                let after = unseal(&mut seal, now, &how, output).await?;
                output_of(&after, &[], output)
            }
            Self::Seal => {
                let answer = seal
                    .seal(SealRequest {})
                    .await
                    .map_err(failed(Service::KeyVault))?;
                let after = answer.into_inner().status.unwrap_or_default();
                output_of(&after, &[], output)
            }
            Self::ChangeProvider(change) => {
                let now = status(&mut seal).await?;
                let request = change.request(&now, output)?;
                let answer = seal
                    .change_provider(request)
                    .await
                    .map_err(failed(Service::KeyVault))?
                    .into_inner();
                output_of(&answer.status.unwrap_or_default(), &answer.shares, output)
            }
        }
    }
}

impl Change {
    fn request(&self, now: &SealStatus, output: Output) -> anyhow::Result<ChangeProviderRequest> {
        let mut request = ChangeProviderRequest {
            provider: Some(self.new.provider(output)?),
            ..ChangeProviderRequest::default()
        };
        let present = || {
            let file = self.present_secret_file.as_deref();
            let file = file.with_context(|| {
                format!(
                    "show what unseals the vault now ({}): --present-secret-file",
                    now.provider
                )
            })?;
            read(file, "what unseals the vault now", output)
        };
        match now.provider.as_str() {
            "passphrase" => request.present_passphrase = Some(passphrase(&present()?)),
            "shamir" => request.present_shares = lines(&present()?),
            _ => {}
        }
        Ok(request)
    }
}

impl NewSeal {
    fn provider(&self, output: Output) -> anyhow::Result<NewProvider> {
        let counts = self.shares.is_some() || self.threshold.is_some();
        ensure!(
            self.provider == Provider::Shamir || !counts,
            "--shares and --threshold belong to --provider shamir"
        );
        let provider = match self.provider {
            Provider::KeyFile => Chosen::KeyFile(Configured {}),
            Provider::Pkcs11 => Chosen::Pkcs11(Configured {}),
            Provider::Development => Chosen::Development(Configured {}),
            Provider::Passphrase => Chosen::Passphrase(passphrase(&read(
                &self.secret_file,
                "the passphrase",
                output,
            )?)),
            Provider::Shamir => Chosen::Shamir(Sharing {
                shares: self.shares.unwrap_or_default().into(),
                threshold: self.threshold.unwrap_or_default().into(),
            }),
        };
        Ok(NewProvider {
            provider: Some(provider),
        })
    }
}

/// Whether the vault waits for an operator.
pub async fn is_sealed(seal: &mut SealServiceClient<Channel>) -> anyhow::Result<bool> {
    Ok(status(seal).await?.state() != SealState::Unsealed)
}

async fn status(seal: &mut SealServiceClient<Channel>) -> anyhow::Result<SealStatus> {
    let answer = seal
        .get_seal_status(GetSealStatusRequest {})
        .await
        .map_err(failed(Service::KeyVault))?;
    Ok(answer.into_inner().status.unwrap_or_default())
}

async fn unseal(
    seal: &mut SealServiceClient<Channel>,
    now: SealStatus,
    how: &Unseal,
    output: Output,
) -> anyhow::Result<SealStatus> {
    let secrets = match (now.state(), now.provider.as_str()) {
        (SealState::Unsealed, _) if !now.pending => return Ok(now),
        (SealState::Sealing, _) => {
            bail!("calls under way hold keys yet: run `sealpost admin vault seal` again")
        }
        (SealState::Uninitialised | SealState::Unspecified, _) => {
            bail!("the key vault has no root key yet: run `sealpost admin vault init`")
        }
        (SealState::Sealed, "passphrase") => {
            let text = read(&how.secret_file, "the passphrase", output)?;
            vec![Secret::Passphrase(passphrase(&text))]
        }
        (SealState::Unsealed, _) | (SealState::Sealed, "shamir") => {
            let text = read(&how.secret_file, "your share", output)?;
            lines(&text).into_iter().map(Secret::Share).collect()
        }
        (SealState::Sealed, _) => vec![Secret::Configured(Configured {})],
    };
    let mut after = now;
    for secret in secrets {
        let request = UnsealRequest {
            secret: Some(secret),
        };
        let answer = seal
            .unseal(request)
            .await
            .map_err(failed(Service::KeyVault))?;
        after = answer.into_inner().status.unwrap_or_default();
    }
    Ok(after)
}

/// Reads a secret, at most some kilobytes of it.
fn read(file: &Path, what: &str, output: Output) -> anyhow::Result<Zeroizing<String>> {
    const MAX: u64 = 64 * 1024;
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        if io::stdin().is_terminal() {
            output.note(&format!(
                "{what}, then Enter and Ctrl-D (it shows on this terminal; --secret-file reads it from a file):"
            ));
        }
        io::stdin().lock().take(MAX).read_to_string(&mut text)
    } else {
        let shown = || format!("{}", file.display());
        let opened = fs::File::open(file).with_context(shown)?;
        opened.take(MAX).read_to_string(&mut text)
    }
    .with_context(|| format!("{what} cannot be read"))?;
    ensure!(!text.trim().is_empty(), "{what} is empty");
    Ok(text)
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// Without the line end that an editor or `echo` put after it.
fn passphrase(text: &str) -> Passphrase {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Passphrase {
        text: text.to_owned(),
    }
}

fn output_of(status: &SealStatus, shares: &[String], output: Output) -> anyhow::Result<()> {
    output.say(&words(status, shares), &value(status, shares))
}

fn words(status: &SealStatus, shares: &[String]) -> String {
    let SealStatus {
        provider,
        shares: made,
        threshold,
        given,
        ..
    } = status;
    let mut words = match status.state() {
        SealState::Unsealed if status.pending => format!(
            "unsealed (root key sealed by: {provider}); new shares count once {threshold} of them were given: {given} were"
        ),
        SealState::Unsealed => format!("unsealed (root key sealed by: {provider})"),
        SealState::Sealing => "being sealed: calls under way hold keys yet".to_owned(),
        SealState::Sealed if *threshold > 0 => {
            format!(
                "sealed by {provider}: {given} of the {threshold} shares that are needed were given ({made} exist)"
            )
        }
        SealState::Sealed => format!("sealed by {provider}"),
        SealState::Uninitialised | SealState::Unspecified => {
            "not initialised: run `sealpost admin vault init`".to_owned()
        }
    };
    if !shares.is_empty() {
        words.push_str(&format!(
            "\nGive each holder one share. They are shown this once and kept nowhere; any {threshold} of them unseal:"
        ));
        for share in shares {
            words.push_str(&format!("\n  {share}"));
        }
    }
    words
}

fn value(status: &SealStatus, shares: &[String]) -> Value {
    let state = match status.state() {
        SealState::Unsealed => "unsealed",
        SealState::Sealed => "sealed",
        SealState::Sealing => "sealing",
        SealState::Uninitialised | SealState::Unspecified => "uninitialised",
    };
    let mut value = json!({"state": state, "provider": status.provider});
    if status.threshold > 0 {
        value["shares_made"] = json!(status.shares);
        value["threshold"] = json!(status.threshold);
        value["given"] = json!(status.given);
    }
    if status.pending {
        value["pending"] = json!(true);
    }
    if !shares.is_empty() {
        value["shares"] = json!(shares);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_loses_the_line_end_after_it_and_nothing_else() {
        for (read, kept) in [
            ("a b \n", "a b "),
            ("a b \r\n", "a b "),
            ("a\n\n", "a\n"),
            (" a", " a"),
        ] {
            assert_eq!(passphrase(read).text, kept);
        }
    }

    #[test]
    fn shares_are_shown_where_they_are_answered_and_nowhere_else() {
        let status = SealStatus {
            state: SealState::Sealed.into(),
            provider: "shamir".to_owned(),
            shares: 3,
            threshold: 2,
            given: 0,
            pending: false,
        };
        let shares = ["sealpost-share-1-aa".to_owned()];
        assert!(words(&status, &shares).contains(&shares[0]));
        assert_eq!(value(&status, &shares)["shares"], json!(shares));
        assert!(value(&status, &[]).get("shares").is_none());
        assert!(words(&status, &[]).contains("0 of the 2 shares"));
    }
}
