//! Routes and addresses drawn like the Internet's.
