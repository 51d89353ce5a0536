"""When an image may be asked of the cloud, at what price, and what that promise rests on."""
