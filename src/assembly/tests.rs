//! Each rule by itself, the worked examples, and the laws that hold for any steps.

mod ai_sdk;
mod builder;
mod example_1;
mod example_10;
mod example_12;
mod example_14;
mod example_4;
mod example_5;
mod example_9;
mod example_2;
mod example_3;
mod graphs;
mod laws;
mod life;
mod parts;
mod spans;
mod streams;
mod tools;
mod twins;
mod usage;
mod views;
mod worked;
