using System.Text.Json;

namespace LoraNotebooks.Data;

/// <summary>One pass over a dataset's folder: finds the images, their captions, crops and repeats, and everything that is wrong.</summary>
internal sealed class DatasetReader
{
    private static readonly HashSet<string> Documents = ["README", "LICENSE", "LICENCE", "NOTICE", "COPYING", "ATTRIBUTION", "CREDITS", "SOURCES"];

    private static readonly HashSet<string> Companions = [".md", ".json", ".npz", ".safetensors", ".ini", ".db"];

    private const int DeepestFolder = 8;

    private static readonly Dictionary<string, JsonElement> NoFields = [];

    private readonly string _root;
    private readonly ImageDatasetOptions _options;
    private readonly DatasetIssues _issues;

    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    public DatasetReader(string folder, ImageDatasetOptions options)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        options.ThrowIfInvalid();
        _root = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (!Directory.Exists(_root))
        {
            throw new DirectoryNotFoundException($"There is no folder {_root}. Give the folder that holds the images.");
        }

        _options = options;
        _issues = new DatasetIssues(_root);
    }

    /// <summary>Reads the folder.</summary>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    public (IReadOnlyList<ImageDatasetItem> Items, DatasetReport Report) Read(IProgress<PreparationProgress>? progress, CancellationToken cancellationToken)
    {
        var subfolders = Directory.GetDirectories(_root).Order(StringComparer.Ordinal).ToList();
        List<string> folders = [_root, .. subfolders.Where(static folder => RepeatFolder.Parse(Path.GetFileName(folder)) is not null)];
        var files = folders.SelectMany(FilesIn).ToList();
        var metadata = ReadMetadata(files.Where(static file => MetadataFile.IsName(file)));

        // Metadata may name images further below. One listing per folder costs far less than a question per file.
        var further = metadata.Keys.Select(static path => Path.GetDirectoryName(path)!).Distinct().Except(folders).Where(Directory.Exists);
        var present = files.Concat(further.SelectMany(FilesIn)).ToHashSet(StringComparer.Ordinal);
        var inAnyCase = present.ToHashSet(StringComparer.OrdinalIgnoreCase);

        List<string> images =
        [
            .. metadata.Keys.Where(path => IsUsable(path, metadata[path].File, present, inAnyCase)),
            .. files.Where(file => ImageFormats.OfName(file) is not null && !metadata.ContainsKey(file)),
        ];
        ReportNames(folders, images);
        ReportFurtherImages(folders, images);

        var captions = new CaptionFinder(_options, present, _issues);
        var items = images.Select(image => Item(image, metadata.GetValueOrDefault(image), captions)).ToArray();
        var used = items.SelectMany(static item => item.CaptionFiles).ToHashSet(StringComparer.Ordinal);
        ReportOtherFiles(files.Where(file => ImageFormats.OfName(file) is null && !metadata.ContainsKey(file) && !used.Contains(file)));
        var counter = new PreparationCounter(items.Length, _issues, progress);
        Parallel.For(0, items.Length, new ParallelOptions { CancellationToken = cancellationToken }, i =>
        {
            items[i] = ImageCheck.Check(items[i], _options, _issues);
            counter.Add(items[i].File);
        });
        ReportSameContent(items);
        return (items, _issues.ToReport());
    }

    private static IEnumerable<string> FilesIn(string folder) =>
        Directory.GetFiles(folder).Where(static file => !Path.GetFileName(file).StartsWith('.')).Order(StringComparer.Ordinal);

    /// <summary>The lines of all metadata files by image, in their order.</summary>
    private OrderedDictionary<string, (MetadataLine Line, string File)> ReadMetadata(IEnumerable<string> files)
    {
        var metadata = new OrderedDictionary<string, (MetadataLine, string)>(StringComparer.Ordinal);
        foreach (var file in files)
        {
            foreach (var line in MetadataFile.Read(file, (fault, message) => _issues.Error(fault, file, message)))
            {
                if (!metadata.TryAdd(line.Path, (line, file)))
                {
                    _issues.Error(
                        DatasetFault.DuplicateName,
                        line.Path,
                        $"stands in {_issues.Relative(metadata[line.Path].Item2)} and in {_issues.Relative(file)}. Keep one of the lines.");
                }
            }
        }

        return metadata;
    }

    private bool IsUsable(string path, string metadataFile, HashSet<string> present, HashSet<string> inAnyCase)
    {
        if (!present.Contains(path))
        {
            var remedy = inAnyCase.TryGetValue(path, out var other) ? $"{Path.GetFileName(other)} is there: write it so." : "Add it or remove the line.";
            _issues.Error(DatasetFault.MissingFile, path, $"{_issues.Relative(metadataFile)} names this file, but it does not exist. {remedy}");
            return false;
        }

        if (ImageFormats.OfName(path) is null)
        {
            _issues.Error(
                DatasetFault.UnsupportedFile,
                path,
                $"got a name that ends in '{Path.GetExtension(path)}', expected {ImageFormats.Supported}. Convert it.");
            return false;
        }

        return true;
    }

    private ImageDatasetItem Item(string image, (MetadataLine? Line, string? File) metadata, CaptionFinder captions)
    {
        var folder = FolderOf(image);
        var (caption, files) = captions.Find(image, metadata.Line?.Text, folder);
        return new ImageDatasetItem
        {
            File = _issues.Relative(image),
            Path = image,
            Caption = caption,
            StoredCaption = caption,
            CaptionFiles = files,
            MetadataFile = metadata.File,
            Crop = metadata.Line?.Crop,
            Repeats = folder?.Repeats ?? 1,
            Fields = metadata.Line?.Fields ?? NoFields,
        };
    }

    /// <summary>What the name of an image's folder says: of a folder below the root, or of the root itself.</summary>
    private RepeatFolder? FolderOf(string image)
    {
        var below = Path.GetDirectoryName(Path.GetRelativePath(_root, image))!;
        return below.Length > 0 ? RepeatFolder.Parse(Path.GetFileName(below)) : RootFolder();
    }

    /// <summary>A root that is only a number is no count: temporary folders are called so.</summary>
    private RepeatFolder? RootFolder() => Path.GetFileName(_root).Contains('_') ? RepeatFolder.Parse(Path.GetFileName(_root)) : null;

    private void ReportNames(IEnumerable<string> folders, IReadOnlyList<string> images)
    {
        if (images.Count == 0)
        {
            _issues.Error(
                DatasetFault.NoImages,
                _root,
                $"got no images, expected files that end in {ImageFormats.Supported}, here or in subfolders called N_name.");
        }

        foreach (var folder in folders.Where(folder =>
            (folder == _root ? RootFolder() : RepeatFolder.Parse(Path.GetFileName(folder))) is { Repeats: > RepeatFolder.Many }))
        {
            _issues.Warning(
                DatasetFault.ManyRepeats,
                folder,
                $"the folder's name {Path.GetFileName(folder)} asks for that many repeats of each image. "
                + "If this is not meant, rename it so that it does not begin with a number.");
        }

        foreach (var group in images
            .GroupBy(static image => Path.ChangeExtension(image, null), StringComparer.OrdinalIgnoreCase)
            .Where(static group => group.Count() > 1))
        {
            _issues.Error(
                DatasetFault.DuplicateName,
                group.First(),
                $"shares its name with {string.Join(", ", group.Skip(1).Select(Path.GetFileName))}, so that one caption file would serve both. Rename one.");
        }
    }

    /// <summary>Images that are not read, as they lie too deep or are hidden, folder by folder.</summary>
    private void ReportFurtherImages(IReadOnlyCollection<string> folders, IEnumerable<string> images)
    {
        // Links are not followed: they may lead around in a circle.
        var everywhere = new EnumerationOptions
        {
            RecurseSubdirectories = true,
            MaxRecursionDepth = DeepestFolder,
            AttributesToSkip = FileAttributes.ReparsePoint,
        };
        var used = images.ToHashSet(StringComparer.Ordinal);
        var unused = Directory.EnumerateFiles(_root, "*", everywhere)
            .Where(file => ImageFormats.OfName(file) is not null && !used.Contains(file) && !IsJunk(file));
        foreach (var group in unused.Order(StringComparer.Ordinal).GroupBy(static file => Path.GetDirectoryName(file)!))
        {
            var names = Listing.Inline([.. group.Select(static file => Path.GetFileName(file))]);
            var isRead = folders.Contains(group.Key);
            var isNextToRoot = Path.GetDirectoryName(group.Key) == _root;
            var remedy = isRead ? "Names that begin with a dot are hidden: rename them."
                : isNextToRoot ? $"Call the folder N_{Path.GetFileName(group.Key)} for N repeats, or open it by itself."
                : $"Only folders called N_name directly below {Path.GetFileName(_root)} are read: move the images, or name them in {MetadataFile.Name}.";
            _issues.Warning(
                DatasetFault.IgnoredFolder,
                group.Key,
                $"got {Listing.Count(group.Count(), "image")} that {(group.Count() == 1 ? "is" : "are")} not used: {names}. {remedy}");
        }
    }

    /// <summary>What macOS leaves beside files, and what lies in hidden folders.</summary>
    private bool IsJunk(string file)
    {
        var parts = Path.GetRelativePath(_root, file).Split(Path.DirectorySeparatorChar);
        return parts[^1].StartsWith("._", StringComparison.Ordinal) || parts[..^1].Any(static part => part.StartsWith('.') || part == "__MACOSX");
    }

    /// <summary>Files that are no images by name and no used captions: images in disguise, captions without an image, things that are not used.</summary>
    private void ReportOtherFiles(IEnumerable<string> files)
    {
        foreach (var file in files.Where(static file => !MetadataFile.IsName(file)))
        {
            var extension = Path.GetExtension(file).ToLowerInvariant();
            var isCaption = CaptionFinder.IsCaption(file);
            var isDocument = Companions.Contains(extension) || Documents.Contains(Path.GetFileNameWithoutExtension(file).ToUpperInvariant());
            if (ImageFormats.IsOtherImage(file))
            {
                _issues.Error(
                    DatasetFault.UnsupportedFile,
                    file,
                    $"got a file that ends in '{extension}', expected {ImageFormats.Supported}. Convert it or remove it.");
            }
            else if (_issues.Try(file, () => ImageFormats.OfContent(file), null) is { } format)
            {
                var remedy = ImageFormats.Extension(format) is { } right ? $"Rename it to end in {right}" : "Convert it";
                _issues.Error(DatasetFault.WrongExtension, file, $"the content is {format}, but the name ends in '{extension}'. {remedy}, or remove it.");
            }
            else if (isCaption && !isDocument)
            {
                _issues.Warning(DatasetFault.OrphanCaption, file, "got a caption without an image of the same name. Add the image or remove the caption.");
            }
            else if (!isDocument)
            {
                _issues.Warning(
                    DatasetFault.UnsupportedFile,
                    file,
                    $"is not used, expected images ({ImageFormats.Supported}), captions (.txt, .caption) or {MetadataFile.Name}.");
            }
        }
    }

    private void ReportSameContent(IEnumerable<ImageDatasetItem> items)
    {
        foreach (var group in items
            .Where(static item => item.Sha256 is not null)
            .GroupBy(static item => Convert.ToHexString(item.Sha256!))
            .Where(static group => group.Count() > 1))
        {
            _issues.Warning(
                DatasetFault.DuplicateImage,
                group.First().Path,
                $"is the same file as {string.Join(", ", group.Skip(1).Select(static item => item.File))}. Keep one; repeats do the same.");
        }
    }
}
