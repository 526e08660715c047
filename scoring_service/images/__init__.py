"""Pictures: decoding what people send, preparing it for a network, and the networks we can register."""
