"""Storage Commitment Push Model, as SCP: N-ACTION in, N-EVENT-REPORT out. Source: PS3.4 Annex J, PS3.7 10.1.

The request is a durable job before it is answered. Its report goes out on the same association while that is open,
else on a new one to the enrolled device, from ``commitment_scu``; tried again until it was taken.
"""
