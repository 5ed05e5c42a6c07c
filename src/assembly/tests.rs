//! Each rule by itself, the worked examples, and the laws that hold for any steps.

mod ai_sdk;
mod builder;
mod laws;
mod life;
mod spans;
mod tools;
mod twins;
mod usage;
mod views;
