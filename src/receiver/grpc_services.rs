//! The two services of every gRPC server beside its own: health, for probes, and reflection, for people with a
//! command-line client.

use axum::Router;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

/// `google.protobuf.FileDescriptorSet` of the three OTLP services and what they use, without comments
/// (opentelemetry-proto, Apache License 2.0; `proto/README.md` says how it is made).
const DESCRIPTORS: &[u8] = include_bytes!("../../proto/otlp.binpb");

/// `grpc.health.v1.Health`, which needs no key and says only whether data is taken.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// Nothing is taken yet.
    pub async fn new() -> Health {
        let health = Health(HealthReporter::new());
        health.set(false).await;
        health
    }

    /// The whole server (the empty name) and each OTLP service say the same.
    pub async fn set(&self, takes_data: bool) {
        let status = if takes_data { ServingStatus::Serving } else { ServingStatus::NotServing };
        let services = super::SIGNALS.iter().map(|(_, _, method)| method.trim_start_matches('/'));
        for service in services.filter_map(|method| method.split('/').next()).chain([""]) {
            self.0.set_service_status(service, status).await;
        }
    }

    pub fn router(&self) -> Router {
        let service = HealthService::from_health_reporter(self.0.clone());
        Router::new().route_service(
            "/grpc.health.v1.Health/{method}",
            tonic_health::pb::health_server::HealthServer::new(service),
        )
    }
}

/// Server reflection, which says what can be called. `Err` when the descriptors cannot be read.
pub fn reflection() -> anyhow::Result<Router> {
    let service = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(Router::new().route_service("/grpc.reflection.v1.ServerReflection/{method}", service))
}
