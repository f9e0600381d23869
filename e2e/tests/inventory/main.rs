//! What the daemon counts and where it places, against a real API server and its scheduler, on machines that only exist there.

mod hall;
mod machines;
mod scheduler;
