using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Training;

namespace LoraNotebooks.Tests.Hub;

/// <summary>The room on the disk: asked for before a download, and told of where it ends while one is written.</summary>
public sealed class HubDiskTests
{
    private const string Weights = "unet/diffusion_pytorch_model.safetensors";

    private static FakeHub Model() => new((Weights, FakeHub.Bytes(100_000)), ("unet/config.json", "{}"u8.ToArray()), ("model_index.json", "{ }"u8.ToArray()));

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

    // The files have 100,005 bytes; what of them is there from an earlier attempt is not needed again.
    [Theory]
    [InlineData(100_005L, 0, true)]
    [InlineData(100_004L, 0, false)]
    [InlineData(40_005L, 60_000, true)]
    [InlineData(40_004L, 60_000, false)]
    [InlineData(5L, 123_456, true)]
    [InlineData(4L, 123_456, false)]
    [InlineData(null, 0, true)]
    public async Task DownloadAsync_RoomOnTheDisk_IsEnoughToTheByte(long? free, int begun, bool isEnough)
    {
        using var hub = Model();
        hub.FreeBytes = free;
        if (begun > 0)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(hub.Blob(Weights))!);
            await File.WriteAllBytesAsync(hub.Blob(Weights) + ".incomplete", new byte[begun]);
        }

        var error = await Record.ExceptionAsync(() => hub.DownloadAsync());

        Assert.Equal(isEnough ? null : HubFailure.DiskFull, (error as HubException)?.Failure);
    }

    [Fact]
    public async Task DownloadAsync_TooLittleRoom_SaysHowMuchIsNeeded()
    {
        using var hub = new FakeHub((Weights, FakeHub.Bytes(10)));
        hub.FreeBytes = 2_004_999_999;
        hub.OnHub = request => request.Method == "HEAD" ? hub.Usual(request).With("X-Linked-Size", "12345678901") : null;

        var error = await hub.FailAsync();

        Assert.Equal(
            $"The download needs 12.35 GB, but the disk of {hub.Cache} has 2.00 GB free. Make room, or name a folder on another disk in the variable HF_HOME.",
            error.Message);
    }

    // ENOSPC, EDQUOT on Linux and on macOS, and the two of Windows; another fault of the disk is told as it is.
    [Theory]
    [InlineData(28, true)]
    [InlineData(122, true)]
    [InlineData(69, true)]
    [InlineData(unchecked((int)0x80070070), true)]
    [InlineData(unchecked((int)0x80070027), true)]
    [InlineData(5, false)]
    public async Task DownloadAsync_DiskThatIsFullWhileItIsWritten_SaysSo(int code, bool isFull)
    {
        using var hub = Model();
        var progress = new Immediate<DownloadProgress>(report => throw new IOException("Written no further.", code));

        var error = await Assert.ThrowsAnyAsync<IOException>(() => hub.DownloadAsync(progress: progress));

        Assert.Equal(isFull ? HubFailure.DiskFull : null, (error as HubException)?.Failure);
        var full = $"The disk of {hub.Cache} is full. Make room, or name a folder on another disk in the variable HF_HOME. What was fetched is kept.";
        Assert.Equal(isFull ? full : "Written no further.", error.Message);
    }

    [Fact]
    public void Free_FolderThatWillBe_IsThatOfTheDiskItWillBeOn()
    {
        using var hub = Model();
        var free = DiskSpace.Free(Path.Combine(hub.Cache, "not", "yet"));

        Assert.Equal(new DriveInfo(hub.Cache).AvailableFreeSpace, Assert.IsType<long>(free), 1e9);
        Assert.Null(DiskSpace.Free(""));
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
}
