"""What the box is made of: memory, processor, accelerators, runtime. Reads; never writes."""
