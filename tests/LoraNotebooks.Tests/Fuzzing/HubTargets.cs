using System.Text;
using LoraNotebooks.Hub;
using LoraNotebooks.Tests.Models;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>
/// The cache of the hub: strange folders, links and references. What is damaged is a description of the cache, by which each reading lays it out.
/// </summary>
internal static class HubTargets
{
    private const string FileName = "cache.txt";
    private const string Commit = "1111111111111111111111111111111111111111";
    private const string Repository = "models--org--name";

    /// <summary>A line is a folder, a file with its content or a link with its target.</summary>
    private static readonly string[] Sample =
    [
        $"file|{Repository}/refs/main|{Commit}",
        $"file|{Repository}/refs/refs/pr/1|{Commit}",
        $"file|{Repository}/blobs/aaaa|content",
        $"folder|{Repository}/snapshots/{Commit}/unet|",
        $"link|{Repository}/snapshots/{Commit}/config.json|../../blobs/aaaa",
        $"link|{Repository}/snapshots/{Commit}/unet/config.json|../../../blobs/aaaa",
        "file|models--old/refs/main|2222222222222222222222222222222222222222",
        "file|models--old/snapshots/2222222222222222222222222222222222222222/a.json|{}",
    ];

    private static readonly string[] Names =
    [
        "models--", "models----", "models--a--b--c", "models--org--name", "models-- --\t", "models--..--..", "datasets--org--name", "refs", "snapshots",
        "blobs", "main", Commit, Commit[..39], "é\u0301", "a\nb", new('n', 200), "..", ".", "x.tmp",
    ];

    private static readonly string[] Targets =
    [
        ".", "..", "../..", "main", "config.json", "a.json", "gone", "/dev/zero", "/dev/null", "/", "/proc", "../snapshots", "../../../..", Commit
    ];

    private static readonly string[] Contents =
    [
        "", " ", Commit, Commit + "\n\n", "../../..", "main", "\0", "\uFEFF" + Commit, new('1', 41), new('a', 100_000)
    ];

    public static IReadOnlyList<FuzzTarget> All(TemporaryFolder root)
    {
        var folder = Directory.CreateDirectory(root.In("hub")).FullName;
        File.WriteAllLines(Path.Combine(folder, FileName), Sample);
        return [new("hub cache", folder, FileName, Mutate, Read, 2) { Documented = [typeof(FileNotFoundException)] }];
    }

    private static byte[] Mutate(Random random, byte[] original)
    {
        var lines = Encoding.UTF8.GetString(original).Split('\n', StringSplitOptions.RemoveEmptyEntries).ToList();
        for (var times = random.Next(1, 5); times > 0 && lines.Count > 0; times--)
        {
            var at = random.Next(lines.Count);
            var (kind, path, value) = Parts(lines[at]);
            var steps = path.Split('/');
            switch (random.Next(7))
            {
                case 0:
                    lines.RemoveAt(at);
                    continue;
                case 1:
                    kind = Mutation.Any(random, ["file", "folder", "link"]);
                    break;
                case 2:
                    steps[random.Next(steps.Length)] = Mutation.Any(random, Names);
                    break;
                case 3:
                    steps = steps[..random.Next(1, steps.Length + 1)];
                    break;
                case 4:
                    steps = [.. steps, Mutation.Any(random, Names)];
                    break;
                case 5:
                    (kind, value) = ("link", Mutation.Any(random, Targets));
                    break;
                default:
                    (kind, value) = ("file", Mutation.Any(random, Contents));
                    break;
            }

            lines.Insert(
                random.Next(2) == 0 ? at : random.Next(lines.Count + 1),
                $"{kind}|{string.Join('/', steps).Replace('\n', ' ')}|{value.Replace('\n', ' ')}");
        }

        return Encoding.UTF8.GetBytes(string.Join('\n', lines));
    }

    private static void Read(string folder)
    {
        var cache = Path.Combine(folder, "cache");
        try
        {
            Directory.CreateDirectory(cache);
            foreach (var line in File.ReadAllLines(Path.Combine(folder, FileName)))
            {
                Lay(cache, line);
            }

            var hub = new HubCache(cache);
            _ = hub.Models();
            foreach (var id in (string[])["org/name", "org/name@refs/pr/1", $"org/name@{Commit}", "org/other"])
            {
                _ = hub.FindSnapshot(HubId.Parse(id));
                _ = hub.FindFile(HubId.Parse(id), "unet/config.json");
            }

            _ = ModelSource.Resolve("org/name", new HubSettings { CacheFolder = cache, Offline = true });
        }
        finally
        {
            Delete(cache);
        }
    }

    /// <summary>Makes what a line describes, unless another line is in its way or it would lie outside.</summary>
    private static void Lay(string cache, string line)
    {
        var (kind, name, value) = Parts(line);
        var path = Path.GetFullPath(Path.Combine(cache, name));
        if (!path.StartsWith(cache + "/", StringComparison.Ordinal) || IsThroughALink(cache, path))
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(kind == "folder" ? path : Path.GetDirectoryName(path)!);
            if (kind == "file")
            {
                File.WriteAllText(path, value);
            }
            else if (kind == "link")
            {
                File.CreateSymbolicLink(path, value);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            // As if the line were not there.
        }
    }

    private static bool IsThroughALink(string cache, string path)
    {
        for (var at = path; at.Length > cache.Length; at = Path.GetDirectoryName(at)!)
        {
            if (new FileInfo(at).LinkTarget is not null)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Deletes a folder and what is in it, of links only themselves.</summary>
    private static void Delete(string folder)
    {
        foreach (var entry in new DirectoryInfo(folder).EnumerateFileSystemInfos())
        {
            if (entry is DirectoryInfo { LinkTarget: null })
            {
                Delete(entry.FullName);
            }
            else
            {
                entry.Delete();
            }
        }

        Directory.Delete(folder);
    }

    private static (string Kind, string Path, string Value) Parts(string line)
    {
        var parts = line.Split('|', 3);
        return (parts[0], parts.ElementAtOrDefault(1) ?? "", parts.ElementAtOrDefault(2) ?? "");
    }
}
