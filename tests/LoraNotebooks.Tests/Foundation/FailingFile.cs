namespace LoraNotebooks.Tests.Foundation;

/// <summary>A file on a disk that fails at its n-th call, each write and the flush to the disk being one.</summary>
internal sealed class FailingFile(string path, int failsAt, Action flushed)
    : FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 1)
{
    private int _calls;

    // Writes of spans come here, too.
    public override void Write(byte[] buffer, int offset, int count)
    {
        Count();
        base.Write(buffer, offset, count);
    }

    public override void Flush(bool flushToDisk)
    {
        Count();
        base.Flush(flushToDisk);
        if (flushToDisk)
        {
            flushed();
        }
    }

    private void Count()
    {
        if (++_calls == failsAt)
        {
            throw new IOException("No space left on device");
        }
    }
}
