"""Plain `nn.Module`s that the methods are put together from."""
