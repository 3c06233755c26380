"""The lab: a throwaway cluster of nodes on this machine, made by the very commands that real hosts are set up with."""
