namespace LoraNotebooks.Hub;

/// <summary>One snapshot of a model in the cache.</summary>
public sealed record CachedModel
{
    /// <summary>The repository, <c>org/name</c>.</summary>
    public required string Name { get; init; }

    /// <summary>The snapshot's commit.</summary>
    public required string Commit { get; init; }

    /// <summary>The branches and tags that mean this commit, as far as the cache knows; may be none.</summary>
    public required IReadOnlyList<string> Revisions { get; init; }

    /// <summary>The snapshot's folder.</summary>
    public required string Folder { get; init; }

    /// <summary>The number of files.</summary>
    public required int Files { get; init; }

    /// <summary>The size in bytes of what the files hold; snapshots of one model share equal files, so their sizes do not add up.</summary>
    public required long Bytes { get; init; }

    /// <summary>When a file of it was last read or written, as well as the file system keeps account.</summary>
    public required DateTime LastUsedUtc { get; init; }
}
