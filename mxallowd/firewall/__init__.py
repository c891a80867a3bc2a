"""The rulesets for a configuration: the files of rulesets/ with its addresses, numbers and names, as text.

Nothing here asks or changes the kernel. `wanted` has what a ruleset depends on, `nft` and `shell` put it into a file,
and `printing` chooses the files of a way and says what does not fit.
"""
