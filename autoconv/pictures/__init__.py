"""Pictures: image kernels, what a net's layers see, and pictures as nets take them."""
