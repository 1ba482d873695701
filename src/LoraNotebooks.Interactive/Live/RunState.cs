namespace LoraNotebooks.Interactive;

/// <summary>How work that is followed live stands.</summary>
internal enum RunState
{
    /// <summary>Reports are coming.</summary>
    Running,

    /// <summary>It was asked to stop and has not ended yet.</summary>
    Stopping,

    /// <summary>All of it was done.</summary>
    Finished,

    /// <summary>It ended before its last piece.</summary>
    Stopped,

    /// <summary>An exception ended it.</summary>
    Failed,
}
