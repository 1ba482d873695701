namespace LoraNotebooks.Hub;

/// <summary>Where a model is, as users name it: a folder, a file, or a model of the hub, <c>org/name[@revision]</c>.</summary>
public static class ModelSource
{
    /// <summary>Finds a model on the disk or in the cache.</summary>
    /// <param name="source">A folder or file (<c>~</c> is the home folder), or <c>org/name[@revision]</c>. A folder of that name wins over the hub.</param>
    /// <param name="settings">The cache, default that of <see cref="HubSettings.FromEnvironment()"/>.</param>
    /// <returns>The full path of the folder or file.</returns>
    /// <exception cref="FileNotFoundException">There is no such thing; the message lists where it was looked for.</exception>
    public static string Resolve(string source, HubSettings? settings = null)
    {
        var place = Look(source, settings);
        return place.Path ?? throw NotFound(place);
    }

    /// <summary>Finds a model on the disk or in the cache, and fetches it from the hub where it is in neither.</summary>
    /// <param name="source">See <see cref="Resolve"/>.</param>
    /// <param name="options">Which files are fetched.</param>
    /// <param name="settings">The cache and the server, default those of <see cref="HubSettings.FromEnvironment()"/>.</param>
    /// <param name="progress">See <see cref="HubClient.DownloadAsync"/>.</param>
    /// <param name="cancellationToken">Ends the download; what was fetched is kept.</param>
    /// <returns>The full path of the folder or file.</returns>
    /// <exception cref="FileNotFoundException">There is no such thing here, and the network must not be used or the name is not one of the hub.</exception>
    /// <exception cref="HubException">The hub cannot give it.</exception>
    public static async Task<string> ResolveOrDownloadAsync(
        string source,
        DownloadOptions? options = null,
        HubSettings? settings = null,
        IProgress<DownloadProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        var place = Look(source, settings);
        if (place.Path is not null)
        {
            return place.Path;
        }

        if (place.Id is null || place.Settings!.Offline)
        {
            throw NotFound(place);
        }

        using var client = new HubClient(place.Settings);
        return await client.DownloadAsync(place.Id, options, progress, cancellationToken).ConfigureAwait(false);
    }

    private static Place Look(string source, HubSettings? settings)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(source);
        var path = Path.GetFullPath(HubSettings.Expand(source, static _ => null, Environment.GetFolderPath(Environment.SpecialFolder.UserProfile)));
        if (Directory.Exists(path) || File.Exists(path))
        {
            return new Place(source, path, path, null, null);
        }

        if (!HubId.TryParse(source, out var id))
        {
            return new Place(source, path, null, null, null);
        }

        settings ??= HubSettings.FromEnvironment();
        return new Place(source, path, new HubCache(settings.CacheFolder).FindSnapshot(id), id, settings);
    }

    private static FileNotFoundException NotFound(Place place)
    {
        if (place.Id is not { } id)
        {
            return new FileNotFoundException(
                $"There is no model '{place.Source}': no folder and no file '{place.LocalPath}', "
                    + "and it is not a name on the hub (org/name or org/name@revision). Correct the path.",
                place.LocalPath);
        }

        var revision = id.Revision == HubId.DefaultRevision ? "" : $" --revision {id.Revision}";
        var offline = place.Settings!.Offline ? " on a machine with network (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set here)" : "";
        return new FileNotFoundException(
            $"There is no model '{place.Source}': no folder '{place.LocalPath}', and the cache '{place.Settings.CacheFolder}' does not hold "
                + $"{id.Name} at revision {id.Revision}. Fetch it{offline}: lora-notebooks model download {id.Name}{revision}. Or give the path of a folder.",
            place.LocalPath);
    }

    private sealed record Place(string Source, string LocalPath, string? Path, HubId? Id, HubSettings? Settings);
}
