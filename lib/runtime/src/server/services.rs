//! What a face offers: its services, their health and their descriptors.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;

use super::ServerError;

/// Services to serve, with the standard health service and reflection beside them.
pub struct Services {
    routes: Routes,
    health: Health,
    methods: HashSet<String>,
}

impl Services {
    /// Starts from the encoded file descriptor set of the protos that the services come from.
    ///
    /// # Errors
    /// When the set is not well formed.
    pub fn new(descriptors: &'static [u8]) -> Result<Self, ServerError> {
        let set = FileDescriptorSet::decode(descriptors).map_err(|_| ServerError::Descriptors)?;
        let methods = method_paths(&set)
            .chain(super::USUAL_ROWS.iter().map(|(path, _)| (*path).to_owned()))
            .collect();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_file_descriptor_set(set)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|_| ServerError::Descriptors)?;
        let (reporter, health) = tonic_health::server::health_reporter();
        Ok(Self {
            routes: Routes::new(health).add_service(reflection),
            health: Health {
                reporter,
                saying: Arc::default(),
                state: Arc::new(Mutex::new(State {
                    // The empty name is the process as a whole.
                    names: vec![""],
                    regardless: Vec::new(),
                    serving: false,
                    ready: true,
                })),
            },
            methods,
        })
    }

    /// Adds one generated server.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "adds a service, not a number"
    )]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.health.state().names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Says of an added service that it works whether or not the process is ready ([`Health::set_ready`]).
    #[must_use]
    pub fn regardless<S: NamedService>(self) -> Self {
        let mut state = self.health.state();
        state.names.retain(|name| *name != S::NAME);
        state.regardless.push(S::NAME);
        drop(state);
        self
    }

    /// The switch of the health service, for a service that is up but cannot work for a while.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    pub(super) fn into_parts(self) -> (Routes, Health, Arc<HashSet<String>>) {
        (self.routes.prepare(), self.health, Arc::new(self.methods))
    }
}

/// What the health service says about a face's services. Clones share it.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    state: Arc<Mutex<State>>,
    /// What is said last is what holds.
    saying: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    names: Vec<&'static str>,
    /// Of services that work whether or not the process is ready.
    regardless: Vec<&'static str>,
    serving: bool,
    ready: bool,
}

impl Health {
    /// Says SERVING, or NOT_SERVING, for every service of the face and for the whole; SERVING only as far as the process is ready.
    pub async fn set(&self, serving: bool) {
        self.state().serving = serving;
        self.say().await;
    }

    /// Whether the process can do its work. At first it can.
    pub async fn set_ready(&self, ready: bool) {
        self.state().ready = ready;
        self.say().await;
    }

    async fn say(&self) {
        let _alone = self.saying.lock().await;
        let said: Vec<_> = {
            let state = self.state();
            let named = |names: &[&'static str], serving| {
                let named: Vec<_> = names.iter().map(|name| (*name, serving)).collect();
                named
            };
            let mut said = named(&state.names, state.serving && state.ready);
            said.extend(named(&state.regardless, state.serving));
            said
        };
        for (name, serving) in said {
            let status = if serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            self.reporter.set_service_status(name, status).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/package.Service/Method` for every method of `set`.
fn method_paths(set: &FileDescriptorSet) -> impl Iterator<Item = String> + '_ {
    set.file.iter().flat_map(|file| {
        file.service.iter().flat_map(move |service| {
            service.method.iter().map(move |method| {
                format!("/{}.{}/{}", file.package(), service.name(), method.name())
            })
        })
    })
}
