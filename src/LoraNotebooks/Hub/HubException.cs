namespace LoraNotebooks.Hub;

/// <summary>What kept a model from being had.</summary>
public enum HubFailure
{
    /// <summary>The network must not be used, and the cache does not hold it.</summary>
    Offline,

    /// <summary>The server cannot be reached, or kept failing.</summary>
    Unreachable,

    /// <summary>The model, the revision or the file does not exist, or is private.</summary>
    NotFound,

    /// <summary>The account may not read it.</summary>
    Denied,

    /// <summary>The disk has too little room.</summary>
    DiskFull,

    /// <summary>What the server sent is not the file: its length or its checksum differs.</summary>
    Damaged,

    /// <summary>The server asked for something unsafe, such as a file outside the model's folder.</summary>
    Refused,
}

/// <summary>A model cannot be had from the hub; the message says why and what to do. It never shows an access token.</summary>
public sealed class HubException : IOException
{
    /// <summary>Says what happened.</summary>
    public HubException(HubFailure failure, string message, Exception? inner = null)
        : base(message, inner) => Failure = failure;

    /// <summary>The kind of failure.</summary>
    public HubFailure Failure { get; }
}
