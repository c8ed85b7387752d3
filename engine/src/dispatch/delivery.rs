//! When a notification is tried again, and when it is given up. Pure: attempts and instants in, an instant out.
