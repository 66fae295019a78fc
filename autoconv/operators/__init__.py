"""The differentiable ops, defined once for every device: each op runs a forward kernel and returns
`(y, backward)`.
"""
