namespace LoraNotebooks.Hub;

/// <summary>
/// Keeps two processes from fetching one blob: whoever holds the lock file open has it, as in Python's
/// filelock. It is freed when its process ends, however it ends.
/// </summary>
internal static class BlobLock
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    // Sharing violation on Windows, EAGAIN on Linux, EWOULDBLOCK on macOS.
    private static readonly int[] Taken = [unchecked((int)0x80070020), 11, 35];

    /// <summary>Waits for the lock and takes it; disposing frees it.</summary>
    public static async Task<IDisposable> TakeAsync(string path, CancellationToken cancellation)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException error) when (Taken.Contains(error.HResult))
            {
                await Task.Delay(Pause, cancellation).ConfigureAwait(false);
            }
        }
    }
}
