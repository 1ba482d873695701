using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

/// <summary>A hub with one model on this machine: it answers as the real one does, large files from a second host, unless a test tells it otherwise.</summary>
internal sealed class FakeHub : IDisposable
{
    public const string Name = "painters/tiny";
    public const string Secret = "hf_VerySecretWord";

    public static readonly HubId Id = HubId.Parse(Name);
    public static readonly string Commit = new('c', 40);

    private readonly LocalServer _hub;
    private readonly LocalServer _storage;

    public FakeHub(params (string Name, byte[] Content)[] files)
    {
        Files = files.ToDictionary(file => file.Name, file => file.Content);
        _hub = new LocalServer(AnswerAsHub);
        _storage = new LocalServer(AnswerAsStorage);
        Settings = new HubSettings { CacheFolder = Cache, Endpoint = _hub.Address, Token = new HubToken(Secret) };
    }

    public Dictionary<string, byte[]> Files { get; }

    /// <summary>Answers in the hub's place; null leaves the answer to it.</summary>
    public Func<Request, Reply?>? OnHub { get; set; }

    /// <summary>Answers in the storage's place.</summary>
    public Func<Request, Reply?>? OnStorage { get; set; }

    public string Cache { get; } = Directory.CreateTempSubdirectory("hub-tests-").FullName;

    public HubSettings Settings { get; init; }

    public IReadOnlyList<Request> HubRequests => _hub.Requests;

    public IReadOnlyList<Request> StorageRequests => _storage.Requests;

    public Uri StorageAddress => _storage.Address;

    /// <summary>How long the client waited before each new attempt; no time passes.</summary>
    public List<TimeSpan> Waits { get; } = [];

    /// <summary>The room on the disk; default plenty.</summary>
    public long? FreeBytes { get; set; } = long.MaxValue;

    public string RepositoryFolder => Path.Combine(Cache, "models--painters--tiny");

    public string SnapshotFolder => Path.Combine(RepositoryFolder, "snapshots", Commit);

    public static byte[] Bytes(int count, int seed = 1)
    {
        var bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public static string Sha256(byte[] content) => Convert.ToHexStringLower(SHA256.HashData(content));

    /// <summary>The name that git gives a content.</summary>
    public static string GitBlob(byte[] content) =>
        Convert.ToHexStringLower(SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {content.Length}\0"), .. content]));

    public static bool IsLarge(string name) => name.EndsWith(".safetensors", StringComparison.Ordinal);

    public string Blob(string name) => Path.Combine(RepositoryFolder, "blobs", Etag(name));

    public string Etag(string name) => IsLarge(name) ? Sha256(Files[name]) : GitBlob(Files[name]);

    public HubClient Client(HubSettings? settings = null, TimeProvider? time = null, HttpMessageHandler? network = null) =>
        new(settings ?? Settings, Wait, _ => FreeBytes, time, network);

    public Reply AnswerAsHub(Request request) => OnHub?.Invoke(request) ?? Usual(request);

    public Reply AnswerAsStorage(Request request) => OnStorage?.Invoke(request) ?? Serve(request, Files[request.Path[1..].Split('?')[0]]);

    public async Task<string> DownloadAsync(
        DownloadOptions? options = null,
        IProgress<DownloadProgress>? progress = null,
        HubId? id = null,
        CancellationToken cancellation = default)
    {
        using var client = Client();
        return await client.DownloadAsync(id ?? Id, options, progress, cancellation);
    }

    public async Task<HubException> FailAsync(HubId? id = null, DownloadOptions? options = null)
    {
        var error = await Assert.ThrowsAsync<HubException>(() => DownloadAsync(options, id: id));
        Assert.DoesNotContain(Secret, error.ToString());
        return error;
    }

    /// <summary>A file with its length and, where it is asked for, from its range on.</summary>
    public static Reply Serve(Request request, byte[] content) => request.From is { } from
        ? new Reply(206, content[from..]) { Headers = { ["Content-Range"] = $"bytes {from}-{content.Length - 1}/{content.Length}" } }
        : new Reply(200, content);

    public void Dispose()
    {
        _hub.Dispose();
        _storage.Dispose();
        Directory.Delete(Cache, recursive: true);
    }

    private Task Wait(TimeSpan time, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        Waits.Add(time);
        return Task.CompletedTask;
    }

    /// <summary>As the real hub answers.</summary>
    public Reply Usual(Request request)
    {
        var resolve = $"/{Name}/resolve/{Commit}/";
        if (request.Path.StartsWith($"/api/models/{Name}/revision/", StringComparison.Ordinal))
        {
            return Reply.Json(Listing(Commit, Files.Select(file => (file.Key, file.Value))));
        }

        var name = request.Path.StartsWith(resolve, StringComparison.Ordinal) ? Uri.UnescapeDataString(request.Path[resolve.Length..]) : "";
        if (!Files.TryGetValue(name, out var content))
        {
            return new Reply(404) { Headers = { ["X-Error-Code"] = "EntryNotFound" } };
        }

        var whole = Serve(request, content);
        return IsLarge(name)
            ? new Reply(302)
            {
                Headers =
                {
                    ["Location"] = $"{_storage.Address}{name}?signature=opens-the-file",
                    ["X-Repo-Commit"] = Commit,
                    ["X-Linked-Etag"] = $"\"{Etag(name)}\"",
                    ["X-Linked-Size"] = $"{content.Length}",
                },
            }
            : whole.With("X-Repo-Commit", Commit).With("ETag", $"W/\"{Etag(name)}\"");
    }

    /// <summary>The hub's list of a repository's files.</summary>
    public static string Listing(string commit, IEnumerable<(string Name, byte[] Content)> files) => new JsonObject
    {
        ["sha"] = commit,
        ["siblings"] = new JsonArray(
        [
            .. files.Select(file => new JsonObject
            {
                ["rfilename"] = file.Name,
                ["size"] = file.Content.Length,
                ["blobId"] = GitBlob(file.Content),
                ["lfs"] = IsLarge(file.Name) ? new JsonObject { ["sha256"] = Sha256(file.Content), ["size"] = file.Content.Length } : null,
            }),
        ]),
    }.ToJsonString();
}
