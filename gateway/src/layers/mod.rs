//! What stands between a business's connection and the service: one middleware a file.
//!
//! From the outside in: the runtime's metrics, [`Concurrency`] (sheds load), [`Deadline`], [`Authenticate`], then the routes.

mod authenticate;
mod concurrency;
mod deadline;

pub use authenticate::Authenticate;
pub use concurrency::Concurrency;
pub use deadline::Deadline;

const STREAMS: &[&str] = &[
    "/sealpost.gateway.v1.GatewayService/SendStream",
    "/sealpost.gateway.v1.GatewayService/SubscribeEvents",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// Whether a call lasts as long as its caller likes.
fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;

    use super::is_stream;

    /// As much of a `FileDescriptorSet` as tells streams (google/protobuf/descriptor.proto).
    #[derive(Clone, PartialEq, Message)]
    struct Files {
        #[prost(message, repeated, tag = "1")]
        file: Vec<File>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct File {
        #[prost(string, tag = "2")]
        package: String,
        #[prost(message, repeated, tag = "6")]
        service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Service {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, repeated, tag = "2")]
        method: Vec<Method>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Method {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bool, tag = "5")]
        client_streaming: bool,
        #[prost(bool, tag = "6")]
        server_streaming: bool,
    }

    #[test]
    fn every_streaming_method_of_the_contract_is_listed_and_no_other() {
        let files = Files::decode(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap();
        let ours = files
            .file
            .iter()
            .filter(|file| file.package == "sealpost.gateway.v1")
            .flat_map(|file| &file.service)
            .flat_map(|service| service.method.iter().map(move |method| (service, method)));
        let mut seen = 0;
        for (service, method) in ours {
            let path = format!("/sealpost.gateway.v1.{}/{}", service.name, method.name);
            let streams = method.client_streaming || method.server_streaming;
            assert_eq!(is_stream(&path), streams, "{path}");
            seen += 1;
        }
        assert!(seen >= 6);
    }
}
