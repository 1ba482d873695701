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
        Assert.Equal(
            hub.Files.Keys.Select(hub.Etag).Order(),
            Directory.EnumerateFiles(Path.Combine(hub.RepositoryFolder, "blobs")).Select(Path.GetFileName).Order());
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
    public async Task DownloadAsync_Blob_HasItsNameOnlyWhenItIsWhole()
    {
        using var hub = Model();
        var (before, after) = (new List<bool>(), new List<bool>());
        var progress = new Immediate<DownloadProgress>(report => (report.IsFileDone ? after : before).Add(File.Exists(hub.Blob(report.File))));
        hub.OnStorage = _ =>
        {
            before.Add(File.Exists(hub.Blob(Weights)) || Directory.Exists(hub.SnapshotFolder) || !File.Exists(hub.Blob(Weights) + ".incomplete"));
            return null;
        };

        await hub.DownloadAsync(progress: progress);

        Assert.DoesNotContain(true, before);
        Assert.Equal([true, true, true], after);
    }

    [Fact]
    public async Task DownloadAsync_BranchThatMoved_ReplacesTheReferenceAndNotItsContent()
    {
        using var hub = Model();
        var reference = Path.Combine(hub.RepositoryFolder, "refs", "main");
        Directory.CreateDirectory(Path.GetDirectoryName(reference)!);
        await File.WriteAllTextAsync(reference, new string('a', 40));
        var tag = Path.Combine(hub.Cache, "CACHEDIR.TAG");
        await File.WriteAllTextAsync(tag, "mine");

        // Who reads the file meanwhile goes on reading the former one whole.
        using (var reader = new StreamReader(new FileStream(reference, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete)))
        {
            await hub.DownloadAsync();
            Assert.Equal(new string('a', 40), await reader.ReadToEndAsync());
        }

        Assert.Equal(FakeHub.Commit, await File.ReadAllTextAsync(reference));
        Assert.Equal("mine", await File.ReadAllTextAsync(tag));
        Assert.Equal(["main"], Directory.GetFiles(Path.GetDirectoryName(reference)!).Select(Path.GetFileName));

        // Where it says so already it is not written again.
        var written = new DateTime(2001, 2, 3, 4, 5, 6, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(reference, written);
        await hub.DownloadAsync();
        Assert.Equal(written, File.GetLastWriteTimeUtc(reference));
    }

    [Fact]
    public async Task DownloadAsync_Cache_HoldsTheseFilesAndNoOthers()
    {
        using var hub = Model();

        await hub.DownloadAsync(id: FakeHub.Id.At("v1"));

        const string repository = "models--painters--tiny";
        string[] expected =
        [
            "CACHEDIR.TAG",
            $"{repository}/refs/v1",
            .. hub.Files.Keys.Select(name => $".locks/{repository}/{hub.Etag(name)}.lock"),
            .. hub.Files.Keys.Select(name => $"{repository}/blobs/{hub.Etag(name)}"),
            .. hub.Files.Keys.Select(name => $"{repository}/snapshots/{FakeHub.Commit}/{name}"),
        ];
        Assert.Equal(
            expected.Order(StringComparer.Ordinal),
            Directory.GetFiles(hub.Cache, "*", SearchOption.AllDirectories).Select(
                path => Path.GetRelativePath(hub.Cache, path)).Order(StringComparer.Ordinal));
        Assert.Equal(
            "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of models: everything in it can be downloaded again.\n",
            await File.ReadAllTextAsync(Path.Combine(hub.Cache, "CACHEDIR.TAG")));
    }

    [Fact]
    public async Task DownloadAsync_EqualFiles_AreFetchedOnceAndLinkedTwice()
    {
        using var hub = new FakeHub(("a.safetensors", FakeHub.Bytes(10)), ("b/c.safetensors", FakeHub.Bytes(10)));
        var reports = new List<DownloadProgress>();

        var snapshot = await hub.DownloadAsync(progress: new Immediate<DownloadProgress>(reports.Add));

        Assert.Single(hub.StorageRequests);
        Assert.All(reports, static report => Assert.Equal((1, 1, 10L), (report.FileNumber, report.Files, report.Total)));
        Assert.Equal($"../../blobs/{hub.Etag("a.safetensors")}", new FileInfo(Path.Combine(snapshot, "a.safetensors")).LinkTarget);
        Assert.Equal($"../../../blobs/{hub.Etag("a.safetensors")}", new FileInfo(Path.Combine(snapshot, "b", "c.safetensors")).LinkTarget);
    }

    [Fact]
    public async Task DownloadAsync_SnapshotWithoutLinks_IsMendedFromItsBlob()
    {
        using var hub = Model();
        var snapshot = await hub.DownloadAsync();
        File.Delete(Path.Combine(snapshot, Weights));
        await File.WriteAllTextAsync(Path.Combine(snapshot, Weights), "another length");

        await hub.DownloadAsync();

        Assert.Single(hub.StorageRequests);
        Assert.Equal(hub.Files[Weights], await File.ReadAllBytesAsync(Path.Combine(snapshot, Weights)));
    }

    [Fact]
    public async Task DownloadAsync_SecondFileThatIsNotTheFile_LeavesTheFirstAndNoSnapshot()
    {
        using var hub = new FakeHub(("a.safetensors", FakeHub.Bytes(10)), ("b.safetensors", FakeHub.Bytes(20, seed: 2)));
        hub.OnStorage = request => request.Path.StartsWith("/b", StringComparison.Ordinal) ? new Reply(200, FakeHub.Bytes(20, seed: 3)) : null;

        await hub.FailAsync();

        Assert.Equal(["a.safetensors"], hub.Files.Keys.Where(name => File.Exists(hub.Blob(name))));
        Assert.False(Directory.Exists(hub.SnapshotFolder));
        Assert.False(Directory.Exists(Path.Combine(hub.RepositoryFolder, "refs")));

        hub.OnStorage = null;
        await hub.DownloadAsync();
        Assert.Equal(1, hub.StorageRequests.Count(static request => request.Path.StartsWith("/a", StringComparison.Ordinal)));
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
            var waiting = hub.DownloadAsync(
                progress: new Immediate<DownloadProgress>(report => _ = report.File == Weights && !report.IsFileDone ? stop.CancelAsync() : null),
                cancellation: stop.Token);

            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        }

        Assert.Empty(hub.StorageRequests);
        await hub.DownloadAsync();
        Assert.Single(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_LockThatBecomesFree_IsTaken()
    {
        using var hub = Model();
        var path = Path.Combine(hub.Cache, ".locks", "models--painters--tiny", hub.Etag(Weights) + ".lock");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var held = new FileStream(path, FileMode.Create, FileAccess.ReadWrite, FileShare.None);
        var asked = new TaskCompletionSource();
        var download = Task.Run(
            () => hub.DownloadAsync(progress: new Immediate<DownloadProgress>(report => _ = report.File == Weights && asked.TrySetResult())));

        await asked.Task;
        Assert.False(download.IsCompleted);
        Assert.Empty(hub.StorageRequests);
        held.Dispose();
        await download;

        Assert.Single(hub.StorageRequests);
    }

    [Fact]
    public async Task DownloadAsync_AfterDispose_IsRefused()
    {
        using var hub = Model();
        var client = hub.Client();
        client.Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.DownloadAsync(FakeHub.Id));
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
