using System.IO.Enumeration;
using System.Text;

namespace LoraNotebooks.Hub;

/// <summary>One model's folder in the cache: where its parts are, and how they are written.</summary>
internal sealed class CachedRepository(string cacheFolder, HubId id)
{
    public const string Snapshots = "snapshots";
    public const string Refs = "refs";
    public const string Temporary = ".tmp";

    private const string Incomplete = ".incomplete";
    private const int LongestReference = 1000;

    // https://bford.info/cachedir/: the first line is the standard's, so that backups leave the folder out.
    private const string CacheTag =
        "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of models: everything in it can be downloaded again.\n";

    public string Folder { get; } = Path.Combine(cacheFolder, id.FolderName);

    public string SnapshotFolder(string commit) => Path.Combine(Folder, Snapshots, commit);

    public string BlobPath(string etag) => Path.Combine(Folder, "blobs", etag);

    /// <summary>Where a blob grows until it is whole.</summary>
    public string IncompletePath(string etag) => BlobPath(etag) + Incomplete;

    /// <summary>The file that a process holds open while it fetches a blob, at the place where huggingface_hub has it.</summary>
    public string LockPath(string etag) => Path.Combine(cacheFolder, ".locks", id.FolderName, etag + ".lock");

    /// <summary>The commit that a revision means; null if the cache does not know.</summary>
    public string? FindCommit(string revision)
    {
        if (HubId.IsCommit(revision))
        {
            return revision;
        }

        var reference = Path.Combine([Folder, Refs, .. revision.Split('/')]);
        return ReadReference(reference) is { } commit && HubId.IsCommit(commit) ? commit : null;
    }

    /// <summary>What a file below <see cref="Refs"/> says; null if there is none or it cannot be one of a commit, whatever it is then.</summary>
    public static string? ReadReference(string path)
    {
        try
        {
            if (Content(path) is not { Exists: true, Length: <= LongestReference } file)
            {
                return null;
            }

            // The length that a device tells says nothing.
            using var stream = file.OpenRead();
            var bytes = new byte[LongestReference];
            return Encoding.UTF8.GetString(bytes, 0, stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false)).Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>All files below a folder, by their full paths. Links to folders are not followed: the cache has none, and they can run in circles.</summary>
    public static IEnumerable<string> Files(string folder) => new FileSystemEnumerable<string>(
        folder,
        static (ref entry) => entry.ToFullPath(),
        new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.None })
    {
        ShouldIncludePredicate = static (ref entry) => !entry.IsDirectory,
        ShouldRecursePredicate = static (ref entry) => !entry.Attributes.HasFlag(FileAttributes.ReparsePoint),
    };

    /// <summary>Makes the folders and marks the cache as one.</summary>
    public void Prepare()
    {
        Directory.CreateDirectory(Path.Combine(Folder, "blobs"));
        var tag = Path.Combine(cacheFolder, "CACHEDIR.TAG");
        if (!File.Exists(tag))
        {
            AtomicFile.WriteAllText(tag, CacheTag);
        }
    }

    /// <summary>Gives a blob its names in a snapshot: as links, or as files where there can be no links.</summary>
    public void Place(string etag, IReadOnlyList<string> files, string commit, bool symlinks)
    {
        var blob = BlobPath(etag);
        var paths = files.Select(file => RepositoryPath.Below(SnapshotFolder(commit), file)).Where(path => !Holds(path, blob)).ToList();
        foreach (var (index, path) in paths.Index())
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.Delete(path);
            if (symlinks && TryLink(path, blob))
            {
                continue;
            }

            if (index < paths.Count - 1)
            {
                File.Copy(blob, path);
            }
            else
            {
                File.Move(blob, path);
            }
        }
    }

    /// <summary>Notes which commit a branch or tag means.</summary>
    public void WriteReference(string revision, string commit)
    {
        if (revision != commit && FindCommit(revision) != commit)
        {
            AtomicFile.WriteAllText(Path.Combine([Folder, Refs, .. revision.Split('/')]), commit);
        }
    }

    /// <summary>
    /// The file that holds the content of a snapshot's file: what it links to, or itself.
    /// <see cref="File.Exists"/> is true even of a link to nothing.
    /// </summary>
    public static FileInfo? Content(string path)
    {
        var entry = new FileInfo(path);
        try
        {
            return entry.LinkTarget is null ? entry : entry.ResolveLinkTarget(returnFinalTarget: true) as FileInfo;
        }
        catch (IOException)
        {
            return null; // links in a circle
        }
    }

    /// <summary>Whether a snapshot's file is there; if the blob is too, of its length.</summary>
    private static bool Holds(string path, string blob)
    {
        return Content(path) is { Exists: true } content && (!File.Exists(blob) || content.Length == new FileInfo(blob).Length);
    }

    private static bool TryLink(string path, string blob)
    {
        try
        {
            File.CreateSymbolicLink(path, Path.GetRelativePath(Path.GetDirectoryName(path)!, blob));
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Another process was first, or Windows without developer mode, or a file system without links.
            return Content(path) is { Exists: true };
        }
    }
}
