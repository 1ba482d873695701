using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Training;

namespace LoraNotebooks.Tests.Hub;

/// <summary>Whole downloads: what lies in the cache afterwards.</summary>
public sealed class HubClientTests
{
    private const string Weights = "unet/diffusion_pytorch_model.safetensors";
    private const string Config = "unet/config.json";

    private static FakeHub Model() => new((Weights, FakeHub.Bytes(100_000)), (Config, "{}"u8.ToArray()), ("model_index.json", "{ }"u8.ToArray()));

    [Fact]
    public async Task DownloadAsync_Model_LaysOutBlobsLinksAndReference()
    {
        using var hub = Model();

        var snapshot = await hub.DownloadAsync();

        Assert.Equal(hub.SnapshotFolder, snapshot);
        Assert.Equal(FakeHub.Commit, await File.ReadAllTextAsync(Path.Combine(hub.RepositoryFolder, "refs", "main")));
        Assert.Equal(hub.Files.Keys.Select(hub.Etag).Order(), Directory.EnumerateFiles(Path.Combine(hub.RepositoryFolder, "blobs")).Select(Path.GetFileName).Order());
        foreach (var (name, content) in hub.Files)
        {
            Assert.Equal(content, await File.ReadAllBytesAsync(Path.Combine(snapshot, name)));
            Assert.Equal($"{(name.Contains('/') ? "../" : "")}../../blobs/{hub.Etag(name)}", new FileInfo(Path.Combine(snapshot, name)).LinkTarget);
        }

        Assert.StartsWith("Signature: 8a477f597d28d172789f06886806bc55", await File.ReadAllTextAsync(Path.Combine(hub.Cache, "CACHEDIR.TAG")));
    }

    [Fact]
    public async Task DownloadAsync_WithoutSymlinks_PutsTheFilesThemselvesIntoTheSnapshot()
    {
        using var hub = new FakeHub((Weights, FakeHub.Bytes(1000)), ("a.json", "{}"u8.ToArray()), ("b.json", "{}"u8.ToArray()));
        using var client = hub.Client(hub.Settings with { Symlinks = false });

        var snapshot = await client.DownloadAsync(FakeHub.Id);
        var again = await client.DownloadAsync(FakeHub.Id);

        Assert.Equal(snapshot, again);
        Assert.All(hub.Files, file =>
        {
            Assert.Null(new FileInfo(Path.Combine(snapshot, file.Key)).LinkTarget);
            Assert.Equal(file.Value, File.ReadAllBytes(Path.Combine(snapshot, file.Key)));
        });
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(hub.RepositoryFolder, "blobs")));
        Assert.Single(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_Again_FetchesNothing()
    {
        using var hub = Model();
        await hub.DownloadAsync();
        var before = hub.HubRequests.Count;

        await hub.DownloadAsync();

        Assert.Equal($"/api/models/{FakeHub.Name}/revision/main?blobs=true", Assert.Single(hub.HubRequests.Skip(before)).Path);
        Assert.Single(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_FileOfAnotherLengthInTheCache_FetchesItAnew()
    {
        using var hub = Model();
        await hub.DownloadAsync();
        await File.WriteAllBytesAsync(hub.Blob(Weights), FakeHub.Bytes(10));

        var snapshot = await hub.DownloadAsync();

        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot, Weights)));
    }

    [Fact]
    public async Task DownloadAsync_BranchWithSlash_IsEscapedInTheAddressAndAFolderInTheCache()
    {
        using var hub = Model();

        await hub.DownloadAsync(id: FakeHub.Id.At("refs/pr/1"));

        Assert.Contains(hub.HubRequests, request => request.Path == $"/api/models/{FakeHub.Name}/revision/refs%2Fpr%2F1?blobs=true");
        Assert.Equal(FakeHub.Commit, await File.ReadAllTextAsync(Path.Combine(hub.RepositoryFolder, "refs", "refs", "pr", "1")));
    }

    [Fact]
    public async Task DownloadAsync_OfACommit_WritesNoReference()
    {
        using var hub = Model();

        await hub.DownloadAsync(id: FakeHub.Id.At(FakeHub.Commit));

        Assert.False(Directory.Exists(Path.Combine(hub.RepositoryFolder, "refs")));
    }

    [Fact]
    public async Task DownloadAsync_FileThatFails_LeavesNoSnapshotButKeepsWhatIsWhole()
    {
        using var hub = Model();
        hub.OnStorage = _ => new Reply(410);

        await hub.FailAsync();

        Assert.Null(new HubCache(hub.Cache).FindSnapshot(FakeHub.Id));
        Assert.False(Directory.Exists(hub.SnapshotFolder));
        Assert.True(File.Exists(hub.Blob(Config)));
    }

    [Fact]
    public async Task DownloadAsync_TooLittleRoom_FailsBeforeAnyFile()
    {
        using var hub = Model();
        hub.FreeBytes = 90_000;

        var error = await hub.FailAsync();

        Assert.Equal(HubFailure.DiskFull, error.Failure);
        Assert.Contains("HF_HOME", error.Message);
        Assert.DoesNotContain(hub.HubRequests, request => request.Method == "GET" && request.Path.Contains("/resolve/"));
        Assert.Empty(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_RoomForTheRestOfAnIncompleteFile_IsEnough()
    {
        using var hub = Model();
        Directory.CreateDirectory(Path.GetDirectoryName(hub.Blob(Weights))!);
        await File.WriteAllBytesAsync(hub.Blob(Weights) + ".incomplete", hub.Files[Weights][..50_000]);
        hub.FreeBytes = 60_000;

        await hub.DownloadAsync();

        Assert.Equal(50_000, Assert.Single(hub.StorageRequests).From);
    }

    [Fact]
    public async Task DownloadAsync_Offline_AsksNobody()
    {
        using var hub = Model();
        using var client = hub.Client(hub.Settings with { Offline = true });

        var error = await Assert.ThrowsAsync<HubException>(() => client.DownloadAsync(FakeHub.Id));

        Assert.Equal(HubFailure.Offline, error.Failure);
        Assert.Empty(hub.HubRequests);
    }

    [Fact]
    public async Task DownloadAsync_TwoAtOnce_FetchEachFileOnce()
    {
        using var hub = Model();

        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => hub.DownloadAsync())));

        Assert.Single(hub.StorageRequests);
        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(hub.SnapshotFolder, Weights)));
    }

    [Fact]
    public async Task DownloadAsync_LockHeldElsewhere_WaitsUntilItIsFree()
    {
        using var hub = Model();
        var path = Path.Combine(hub.Cache, ".locks", "models--painters--tiny", hub.Etag(Weights) + ".lock");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        using var stop = new CancellationTokenSource();
        using (new FileStream(path, FileMode.Create, FileAccess.ReadWrite, FileShare.None))
        {
            var waiting = hub.DownloadAsync(progress: new Immediate<DownloadProgress>(report => _ = report.File == Weights && !report.IsFileDone ? stop.CancelAsync() : null), cancellation: stop.Token);

            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        }

        Assert.Empty(hub.StorageRequests);
        await hub.DownloadAsync();
        Assert.Single(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_Cancelled_KeepsTheBytesForTheNextTime()
    {
        using var hub = new FakeHub((Weights, FakeHub.Bytes(1_000_000)));
        using var stop = new CancellationTokenSource();
        hub.OnStorage = request =>
        {
            if (request.From is null)
            {
                return new Reply(200, hub.Files[Weights]) { BreakAfter = 400_000 };
            }

            stop.Cancel();
            return null;
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => hub.DownloadAsync(cancellation: stop.Token));
        Assert.InRange(new FileInfo(hub.Blob(Weights) + ".incomplete").Length, 400_000, 1_000_000);
        hub.OnStorage = null;

        var snapshot = await hub.DownloadAsync();

        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot, Weights)));
        Assert.InRange(hub.StorageRequests[^1].From ?? 0, 400_000, 1_000_000);
        Assert.Empty(Directory.EnumerateFiles(hub.RepositoryFolder, "*.incomplete", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task DownloadAsync_WithProgress_TellsEveryFileToItsEnd()
    {
        using var hub = Model();
        var reports = new List<DownloadProgress>();

        await hub.DownloadAsync(progress: new Immediate<DownloadProgress>(reports.Add));

        var done = reports.Where(report => report.IsFileDone).ToList();
        Assert.Equal([Config, "model_index.json", Weights], done.Select(report => report.File));
        Assert.Equal([1, 2, 3], done.Select(report => report.FileNumber));
        Assert.All(done, report => Assert.Equal(report.FileTotal, report.FileBytes));
        Assert.Equal(hub.Files.Values.Sum(content => content.Length), done[^1].Bytes);
        Assert.Equal(done[^1].Total, done[^1].Bytes);
    }
}
