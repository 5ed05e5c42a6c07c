//! Each rule by itself, the worked examples, and the laws that hold for any steps.

mod builder;
mod example_3;
mod laws;
mod life;
mod tools;
mod twins;
mod usage;
mod views;
