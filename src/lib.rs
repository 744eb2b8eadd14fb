#![doc = include_str!("../ARCHITECTURE.md")]

pub mod adapters;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod domain;
pub mod engine;
pub mod metrics;
pub mod sandbox;
pub mod store;
pub mod trouble;
pub mod web;
pub mod wiring;
