//! To be read with [`super`].
