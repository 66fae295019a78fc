"""The differentiable ops, defined once for all devices. Each op runs a forward kernel and returns
`(y, backward)`.
"""
