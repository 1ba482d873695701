namespace LoraNotebooks.Hub;

/// <summary>
/// The folder that Python's huggingface_hub and this library share: <c>models--org--name/</c> with <c>refs/</c> (a file per branch or tag, which
/// holds a commit), <c>blobs/</c> (files by their checksum) and <c>snapshots/commit/</c> (files by their names: links to the blobs, or the
/// files themselves where a system has no links).
/// </summary>
public sealed class HubCache
{
    /// <summary>Opens a cache; the folder need not exist.</summary>
    /// <param name="folder">The folder that holds <c>models--org--name</c>.</param>
    public HubCache(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        Folder = Path.GetFullPath(folder);
    }

    /// <summary>The cache's folder.</summary>
    public string Folder { get; }

    /// <summary>The folder of a model at a revision; null if the cache does not hold it. Another program may have fetched only some of its files.</summary>
    public string? FindSnapshot(HubId id)
    {
        ArgumentNullException.ThrowIfNull(id);
        var repository = new CachedRepository(Folder, id);
        // A download that was stopped at its beginning can leave empty folders.
        return repository.FindCommit(id.Revision) is { } commit && repository.SnapshotFolder(commit) is var snapshot && Directory.Exists(snapshot)
            && CachedRepository.Files(snapshot).Any() ? snapshot : null;
    }

    /// <summary>A file of a model at a revision; null if the cache does not hold it.</summary>
    /// <param name="id">The model.</param>
    /// <param name="file">The file's name in the repository, with '/' between folders.</param>
    public string? FindFile(HubId id, string file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return FindSnapshot(id) is { } snapshot
            && RepositoryPath.FaultOf(file) is null
            && Path.Combine([snapshot, .. file.Split('/')]) is var path
            && CachedRepository.Content(path) is { Exists: true }
                ? path
                : null;
    }

    /// <summary>The model, at its commit, in whose folder of a cache a path lies; null if it lies elsewhere.</summary>
    /// <param name="path">The full path of a snapshot's folder or of something in it.</param>
    public static HubId? SnapshotOf(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var parts = path.Split(Path.DirectorySeparatorChar);
        var at = Array.LastIndexOf(parts, CachedRepository.Snapshots);
        return at > 0 && at + 1 < parts.Length && HubId.IsCommit(parts[at + 1])
            && HubId.TryParse($"{HubId.NameOfFolder(parts[at - 1])}@{parts[at + 1]}", out var id)
                ? id
                : null;
    }

    /// <summary>All snapshots of models, by name; folders of other kinds (data sets, spaces) are left out.</summary>
    public IReadOnlyList<CachedModel> Models()
    {
        if (!Directory.Exists(Folder))
        {
            return [];
        }

        return
        [
            .. from repository in Directory.EnumerateDirectories(Folder)
               let name = HubId.NameOfFolder(Path.GetFileName(repository))
               where name is not null && Directory.Exists(Path.Combine(repository, CachedRepository.Snapshots))
               let revisions = Revisions(Path.Combine(repository, CachedRepository.Refs))
               from snapshot in Directory.EnumerateDirectories(Path.Combine(repository, CachedRepository.Snapshots))
               where new DirectoryInfo(snapshot).LinkTarget is null
               let model = Describe(name, snapshot, revisions)
               orderby model.Name, model.LastUsedUtc descending
               select model,
        ];
    }

    private static CachedModel Describe(string name, string snapshot, ILookup<string, string> revisions)
    {
        // One blob under two names is one file on the disk.
        var contents = new Dictionary<string, FileInfo>(StringComparer.Ordinal);
        var files = 0;
        foreach (var path in CachedRepository.Files(snapshot))
        {
            if (CachedRepository.Content(path) is { Exists: true } content)
            {
                files++;
                contents.TryAdd(content.FullName, content);
            }
        }

        return new CachedModel
        {
            Name = name,
            Commit = Path.GetFileName(snapshot),
            Revisions = [.. revisions[Path.GetFileName(snapshot)].Order(StringComparer.Ordinal)],
            Folder = snapshot,
            Files = files,
            Bytes = contents.Values.Sum(static file => file.Length),
            LastUsedUtc = contents.Values.Select(static file => file.LastAccessTimeUtc > file.LastWriteTimeUtc ? file.LastAccessTimeUtc : file.LastWriteTimeUtc)
                .DefaultIfEmpty(Directory.GetLastWriteTimeUtc(snapshot)).Max(),
        };
    }

    /// <summary>Commits and the branches and tags that mean them.</summary>
    private static ILookup<string, string> Revisions(string refs) => (Directory.Exists(refs) ? CachedRepository.Files(refs) : [])
        .Where(static file => !file.EndsWith(CachedRepository.Temporary, StringComparison.Ordinal))
        .ToLookup(
            static file => CachedRepository.ReadReference(file) ?? "",
            file => Path.GetRelativePath(refs, file).Replace(Path.DirectorySeparatorChar, '/'));
}
