namespace LoraNotebooks.Hub;

/// <summary>How far a download is.</summary>
public sealed record DownloadProgress
{
    /// <summary>The file being fetched, by its path in the repository.</summary>
    public required string File { get; init; }

    /// <summary>Its number, from 1.</summary>
    public required int FileNumber { get; init; }

    /// <summary>The number of files to fetch.</summary>
    public required int Files { get; init; }

    /// <summary>The bytes of this file that are there.</summary>
    public required long FileBytes { get; init; }

    /// <summary>The length of this file in bytes.</summary>
    public required long FileTotal { get; init; }

    /// <summary>The bytes of all files that are there; it falls where a file has to be begun anew.</summary>
    public required long Bytes { get; init; }

    /// <summary>The length of all files in bytes.</summary>
    public required long Total { get; init; }

    /// <summary>The speed of late in bytes per second, 0 in the first moment.</summary>
    public required double BytesPerSecond { get; init; }

    /// <summary>Whether this file is whole and checked.</summary>
    public required bool IsFileDone { get; init; }
}
