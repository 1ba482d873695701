namespace LoraNotebooks.Hub;

/// <summary>
/// Fetches models into the cache as Python's huggingface_hub lays it out, so that both find what the other has fetched. Interrupted downloads
/// go on where they ended; a snapshot appears when all its files are whole and checked.
/// </summary>
public sealed class HubClient : IDisposable
{
    private readonly HubSettings _settings;
    private readonly HubHttp _http;
    private readonly Func<TimeSpan, CancellationToken, Task> _wait;
    private readonly Func<string, long?> _freeBytes;
    private readonly TimeProvider _time;

    /// <summary>Opens a connection.</summary>
    /// <param name="settings">The server and the cache, default those of <see cref="HubSettings.FromEnvironment()"/>.</param>
    public HubClient(HubSettings? settings = null)
        : this(settings ?? HubSettings.FromEnvironment(), Task.Delay, DiskSpace.Free)
    {
    }

    /// <summary>See above, with time, disk and network in the caller's hands.</summary>
    internal HubClient(
        HubSettings settings, Func<TimeSpan, CancellationToken, Task> wait, Func<string, long?> freeBytes, TimeProvider? time = null,
        HttpMessageHandler? network = null)
    {
        (_settings, _wait, _freeBytes, _time) = (settings, wait, freeBytes, time ?? TimeProvider.System);
        _http = new HubHttp(settings, _time, network);
    }

    /// <summary>Fetches what the cache lacks of a model.</summary>
    /// <param name="id">The model.</param>
    /// <param name="options">Which of its files, default those that are needed, in the plain variant.</param>
    /// <param name="progress">Told a few times a second, on the thread that fetches.</param>
    /// <param name="cancellationToken">Ends the download; what was fetched is kept.</param>
    /// <returns>The snapshot's folder.</returns>
    /// <exception cref="HubException">The model cannot be had; the message says why and what to do.</exception>
    /// <exception cref="OperationCanceledException">The download was cancelled.</exception>
    public async Task<string> DownloadAsync(
        HubId id,
        DownloadOptions? options = null,
        IProgress<DownloadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(id);
        try
        {
            return await DownloadModelAsync(id, options ?? new DownloadOptions(), progress, cancellationToken).ConfigureAwait(false);
        }
        catch (HubException error) when (_settings.Token?.IsIn(error.ToString()) == true)
        {
            // A server can repeat the token in whatever it names; what led to the error would show it, too.
            throw new HubException(error.Failure, _settings.Token.HiddenIn(error.Message));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    private async Task<string> DownloadModelAsync(HubId id, DownloadOptions options, IProgress<DownloadProgress>? progress, CancellationToken cancellationToken)
    {
        var api = new RepositoryApi(_http, _settings, id, _wait);
        var repository = new CachedRepository(_settings.CacheFolder, id);
        var listing = await api.ListAsync(cancellationToken).ConfigureAwait(false);
        var missing = new List<RemoteFile>();
        foreach (var file in FileSelection.Select(id, listing.Files, options).Where(file => !IsThere(repository, file, listing.Commit)))
        {
            missing.Add(await api.DescribeAsync(file, listing.Commit, cancellationToken).ConfigureAwait(false));
        }

        try
        {
            await FetchAsync(api, repository, missing, progress, cancellationToken).ConfigureAwait(false);
            foreach (var names in missing.GroupBy(static file => file.Etag, static file => file.Name))
            {
                repository.Place(names.Key, [.. names], listing.Commit, _settings.Symlinks);
            }

            repository.WriteReference(id.Revision, listing.Commit);
        }
        catch (IOException error) when (DiskSpace.IsFull(error))
        {
            throw new HubException(HubFailure.DiskFull, $"The disk of {_settings.CacheFolder} is full. {DiskSpace.Advice} What was fetched is kept.", error);
        }

        return repository.SnapshotFolder(listing.Commit);
    }

    private static bool IsThere(CachedRepository repository, ListedFile file, string commit)
    {
        var path = RepositoryPath.Below(repository.SnapshotFolder(commit), file.Name);
        return CachedRepository.Content(path) is { Exists: true } content && content.Length == (file.Size ?? content.Length);
    }

    private static bool HasBlob(CachedRepository repository, RemoteFile file) =>
        new FileInfo(repository.BlobPath(file.Etag)) is { Exists: true } blob && blob.Length == file.Size;

    private async Task FetchAsync(
        RepositoryApi api,
        CachedRepository repository,
        List<RemoteFile> files,
        IProgress<DownloadProgress>? progress,
        CancellationToken cancellation)
    {
        // Equal files have one blob.
        var blobs = files.DistinctBy(static file => file.Etag).Where(file => !HasBlob(repository, file)).ToList();
        ThrowIfNoRoom(repository, blobs);
        repository.Prepare();
        var meter = new DownloadMeter(blobs, progress, _time);
        foreach (var file in blobs)
        {
            meter.Begin();
            using (await BlobLock.TakeAsync(repository.LockPath(file.Etag), cancellation).ConfigureAwait(false))
            {
                if (!HasBlob(repository, file))
                {
                    await FetchAsync(api, repository, file, meter, cancellation).ConfigureAwait(false);
                }
            }

            meter.End();
        }
    }

    private async Task FetchAsync(RepositoryApi api, CachedRepository repository, RemoteFile file, DownloadMeter meter, CancellationToken cancellation)
    {
        var incomplete = repository.IncompletePath(file.Etag);
        await using (var download = new BlobDownload(_http, api, file, incomplete, meter))
        {
            await download.RunAsync(new Attempts(_wait), cancellation).ConfigureAwait(false);
        }

        File.Move(incomplete, repository.BlobPath(file.Etag), overwrite: true);
    }

    private void ThrowIfNoRoom(CachedRepository repository, List<RemoteFile> blobs)
    {
        var needed = blobs.Sum(file =>
            file.Size - (new FileInfo(repository.IncompletePath(file.Etag)) is { Exists: true } begun ? Math.Min(begun.Length, file.Size) : 0));
        if (_freeBytes(_settings.CacheFolder) is { } free && free < needed)
        {
            throw new HubException(
                HubFailure.DiskFull,
                $"The download needs {ByteSize.Text(needed)}, but the disk of {_settings.CacheFolder} has {ByteSize.Text(free)} free. {DiskSpace.Advice}");
        }
    }
}
