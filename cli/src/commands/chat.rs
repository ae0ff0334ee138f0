//! `sealpost chat`: a consumer's device at a terminal, or over JSON lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use sealpost_consumer::chat::{Form, chat};
use sealpost_consumer::{
    Client, Code, ConsumerError, PhoneNumber, Relay, State, StateError, register,
};
use sealpost_runtime::{Clock, process, shutdown};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};

use crate::output::Output;
use crate::running::{DEFAULT_FOLDER, Running, host_ports};
use crate::suite::codes::NewCodes;
use crate::suite::consumers;

const EXAMPLES: &str = "Examples:
  sealpost chat --as 15550200000
  sealpost chat --register 15550277777 --dir sealpost-dev
  sealpost chat --state device.state --relay relay.example.com:7443 --ca ca.pem \\
      --with 15550100000 --register 15550277777

Type /help for the commands. With --json both ways are JSON objects, one a line:
  in   {\"do\":\"text\",\"body\":\"Hello\"}  {\"do\":\"read\"}  {\"do\":\"quit\"}
  out  {\"event\":\"message\",\"content\":{\"type\":\"text\",\"body\":\"Hi\"},…}";

/// Talk with a business as a consumer, through the reference Signal client
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Chat {
    /// Folder of the suite [default: sealpost-dev, unless --state and --relay say where]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Which of the suite's consumers to be
    #[arg(long = "as", value_name = "PHONE")]
    consumer: Option<PhoneNumber>,
    /// The business's phone number [default: the suite's first]
    #[arg(long, value_name = "PHONE")]
    with: Option<PhoneNumber>,
    /// The device's state file
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where the relay's device face listens
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "dir", requires_all = ["ca", "state", "with"])]
    relay: Option<String>,
    /// The authority that signs the relay's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "relay")]
    ca: Option<PathBuf>,
    /// First register this phone number on a new device; earlier devices of it stop working
    #[arg(long, value_name = "PHONE", conflicts_with = "consumer")]
    register: Option<PhoneNumber>,
    /// Take the code from this file, as the development relay writes it [default: the suite's, else ask]
    #[arg(long, value_name = "FILE", requires = "register")]
    code_file: Option<PathBuf>,
}

/// Everything a device needs.
struct Device {
    relay: Relay,
    state: PathBuf,
    with: PhoneNumber,
    clock: Clock,
    code_file: Option<PathBuf>,
}

impl Chat {
    /// Talks until the input ends, `/quit`, Ctrl-C or SIGTERM.
    pub async fn run(self, output: Output) -> anyhow::Result<()> {
        process::harden()?;
        let device = match &self.relay {
            Some(relay) => self.elsewhere(relay)?,
            None => self.in_suite()?,
        };
        let mut input = BufReader::new(tokio::io::stdin());
        let mut state = State::open(&device.state).map_err(|error| explain(error.into()))?;
        if let Some(phone) = &self.register {
            enrol(&device, &mut state, phone, &mut input, output).await?;
        }
        let client = Client::connect(device.relay, state, device.clock).map_err(explain)?;
        let form = if output.is_json() {
            Form::JsonLines
        } else {
            output.note("you are connected; /help lists the commands, Ctrl-D leaves");
            Form::Text
        };
        let stop = shutdown::on_signals()?;
        let talked = chat(
            &client,
            &device.with,
            input,
            io::stdout(),
            form,
            stop.cancelled(),
        )
        .await;
        let closed = client.close().await;
        talked.map_err(explain)?;
        closed.map_err(explain)?;
        Ok(())
    }

    fn in_suite(&self) -> anyhow::Result<Device> {
        let folder = self.dir.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER));
        let suite = Running::open(folder)?;
        let state = match (
            &self.state,
            self.consumer.as_ref().or(self.register.as_ref()),
        ) {
            (Some(state), _) => state.clone(),
            (None, Some(phone)) => consumers::state_file(&suite.layout, phone.as_str()),
            (None, None) => bail!("say whom to be: --as PHONE{}", known(&suite)),
        };
        if self.register.is_none() && !state.exists() {
            bail!(
                "no such consumer is registered here{}; --register PHONE makes one",
                known(&suite)
            );
        }
        let business = match &self.with {
            Some(phone) => phone.clone(),
            None => suite.number(None)?.phone_number.parse()?,
        };
        Ok(Device {
            relay: relay(&host_ports(&suite.run.relay.urls), &suite.run.tls.ca)?,
            state,
            with: business,
            clock: suite.clock()?,
            code_file: self
                .code_file
                .clone()
                .or_else(|| Some(suite.run.relay.codes_file.clone())),
        })
    }

    fn elsewhere(&self, address: &str) -> anyhow::Result<Device> {
        let (Some(ca), Some(state), Some(with)) = (&self.ca, &self.state, &self.with) else {
            bail!("--relay needs --ca, --state and --with");
        };
        Ok(Device {
            relay: relay(address, ca)?,
            state: state.clone(),
            with: with.clone(),
            clock: Clock::system(),
            code_file: self.code_file.clone(),
        })
    }
}

fn known(suite: &Running) -> String {
    let phones: Vec<_> = suite
        .run
        .consumers
        .iter()
        .take(5)
        .map(|consumer| consumer.phone_number.as_str())
        .collect();
    if phones.is_empty() {
        String::new()
    } else {
        format!(" (this suite has {})", phones.join(", "))
    }
}

fn relay(address: &str, ca: &Path) -> anyhow::Result<Relay> {
    let address = address
        .parse()
        .map_err(|reason| anyhow!("the relay's address: {reason}"))?;
    Relay::connect(&address, ca).context("the relay's authority cannot be used")
}

/// Registers the device, unless its state is registered under that number already.
async fn enrol(
    device: &Device,
    state: &mut State,
    phone: &PhoneNumber,
    input: &mut BufReader<Stdin>,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(registered) = state.registration() {
        if registered.phone == *phone {
            output.note("this device is registered under that number already");
            return Ok(());
        }
        bail!("this device is registered under another number: give another --state");
    }
    let codes = device.code_file.as_deref().map(NewCodes::of);
    let registration = register(
        &device.relay,
        state,
        &device.clock,
        phone,
        async |_expires| match &codes {
            Some(codes) => codes.wait_for(phone.as_str()).await,
            None => ask(input).await,
        },
    )
    .await
    .map_err(explain)?;
    output.note(&format!("registered as device {}", registration.device_id));
    Ok(())
}

async fn ask(input: &mut BufReader<Stdin>) -> Result<Code, ConsumerError> {
    let mut error = io::stderr();
    write!(error, "The code that was sent to this number: ")?;
    error.flush()?;
    let mut line = String::new();
    input.read_line(&mut line).await?;
    line.trim().parse()
}

/// Adds to a failure what a person can do about it.
fn explain(error: ConsumerError) -> anyhow::Error {
    let next = match &error {
        ConsumerError::State(StateError::Locked) => "close the other chat of this consumer first",
        ConsumerError::State(_) => "the state file cannot be used",
        ConsumerError::NotRegistered => "register it: --register PHONE",
        ConsumerError::BusinessUnknown => "name the business: --with PHONE",
        ConsumerError::Closed => {
            "the relay no longer accepts this device: its number was registered anew elsewhere"
        }
        ConsumerError::Relay { .. } if error.is_unauthenticated() => {
            "the relay refused this device or this code: register again"
        }
        ConsumerError::Relay { .. } => {
            "does the relay run? `sealpost admin status` says; the business's phone number may be wrong too"
        }
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(next)
}
