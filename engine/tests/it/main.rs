//! Everything that needs more than one module: properties over random events, and the program from outside.

mod projection;
mod windows;
