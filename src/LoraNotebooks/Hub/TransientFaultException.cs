namespace LoraNotebooks.Hub;

/// <summary>A fault that may be gone at the next attempt.</summary>
internal sealed class TransientFaultException(HubFailure failure, string message, TimeSpan? retryAfter = null, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>What it is, should it never go.</summary>
    public HubFailure Failure { get; } = failure;

    /// <summary>How long the server asks to wait.</summary>
    public TimeSpan? RetryAfter { get; } = retryAfter;
}
