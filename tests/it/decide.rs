//! The pure core by tables, scripts and properties: no socket, no database, no clock.

mod age;
mod asks;
mod cards;
mod conflicts;
mod heads;
mod kit;
mod laws;
mod locks;
mod parked;
mod random;
mod retries;
mod sets;
mod standing;
mod starts;
mod stops;
mod tables;
mod targets;
mod tellings;
mod watching;
