//! All of it running together: the configuration, starting, reloading and ending.
