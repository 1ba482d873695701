using LoraNotebooks.Data;
using SkiaSharp;
using static LoraNotebooks.Tests.Data.DatasetFolder;

namespace LoraNotebooks.Tests.Data;

/// <summary>What is said of each thing that can be wrong with a folder: what was got, what was expected, what to do.</summary>
public sealed class DatasetMessageTests
{
    private static readonly byte[] Jpeg = Encode(Picture(16, 16, 5), SKEncodedImageFormat.Jpeg);

    // What lies in the folder beside a.png and its caption; the issue, with its severity, kind and file.
    private static readonly (string Name, Action<DatasetFolder> Make, string Issue)[] Cases =
    [
        (
            "empty file", static f => f.Bytes("b.png", []).Text("b.txt", "b"),
            "error EmptyFile b.png: got an empty file (0 bytes), expected an image. Copy it again or remove it."),
        (
            "wrong extension", static f => f.Bytes("b.png", Jpeg).Text("b.txt", "b"),
            "error WrongExtension b.png: the content is JPEG, but the name ends in '.png'. Rename it to end in .jpg."),
        (
            "image of a kind that is not read", static f => f.Bytes("b.png", ForeignImage.MovingGif).Text("b.txt", "b"),
            "error WrongExtension b.png: the content is GIF, but the name ends in '.png'. Convert it."),
        (
            "image in disguise", static f => f.Bytes("b.dat", Jpeg),
            "error WrongExtension b.dat: the content is JPEG, but the name ends in '.dat'. Rename it to end in .jpg, or remove it."),
        (
            "image in disguise that is not read", static f => f.Bytes("b.dat", ForeignImage.MovingGif),
            "error WrongExtension b.dat: the content is GIF, but the name ends in '.dat'. Convert it, or remove it."),
        (
            "image as a caption", static f => f.Bytes("b.txt", Jpeg),
            "error WrongExtension b.txt: the content is JPEG, but the name ends in '.txt'. Rename it to end in .jpg, or remove it."),
        (
            "other image", static f => f.Text("b.TIFF", "words"),
            "error UnsupportedFile b.TIFF: got a file that ends in '.tiff', expected .png, .jpg, .jpeg, .webp or .bmp. Convert it or remove it."),
        (
            "other file", static f => f.Text("b.xyz", "words"),
            "warning UnsupportedFile b.xyz: is not used, expected images (.png, .jpg, .jpeg, .webp or .bmp), captions (.txt, .caption) or metadata.jsonl."),
        (
            "caption alone", static f => f.Text("b.caption", "words"),
            "warning OrphanCaption b.caption: got a caption without an image of the same name. Add the image or remove the caption."),
        ("no caption", static f => f.Image("b.png"), "error MissingCaption b.png: got no caption, expected a line of text in b.txt or in metadata.jsonl."),
        (
            "folder's caption", static f => f.Image("3_sks cat/b.png"),
            "warning MissingCaption 3_sks cat/b.png: got no caption; the folder's name gives \"sks cat\"."),
        (
            "no caption in a folder without a name", static f => f.Image("3_/b.png"),
            "error MissingCaption 3_/b.png: got no caption, expected a line of text in b.txt or in metadata.jsonl."),
        (
            "empty caption in a folder with a name", static f => f.Image("3_x/b.png", " "),
            "error MissingCaption 3_x/b.png: got no caption, expected a line of text in b.txt or in metadata.jsonl."),
        ("more lines", static f => f.Image("b.png", "one\ntwo"), "warning ExtraCaptionLines b.txt: got more than one line, only the first is used: \"one\"."),
        (
            "UTF-16", static f => f.Image("b.png").Bytes("b.txt", [0xFE, 0xFF, 0, (byte)'b']),
            "error TextEncoding b.txt: got UTF-16 (it begins with the bytes ff fe or fe ff), expected UTF-8. Save it as UTF-8."),
        (
            "UTF-16 without its mark", static f => f.Image("b.png").Bytes("b.txt", [(byte)'b', 0]),
            "error TextEncoding b.txt: got text with zero bytes, expected UTF-8; it may be UTF-16. Save it as UTF-8."),
        (
            "Latin-1", static f => f.Image("b.png").Bytes("b.txt", [(byte)'c', 0xE9, (byte)' ']),
            "error TextEncoding b.txt: got the bytes e9 at position 1, expected UTF-8. Save it as UTF-8."),
        (
            "two captions", static f => f.Image("b.png", "one").Text("b.caption", "two"),
            "error ConflictingCaption b.png: got different captions: b.txt says \"one\"; b.caption says \"two\". Make them equal or remove one."),
        (
            "two captions and an empty one",
            static f => f.Image("b.png", "one").Text("b.caption", "two").Text("metadata.jsonl", """{"file_name": "b.png", "text": " "}"""),
            "error ConflictingCaption b.png: got different captions: b.txt says \"one\"; b.caption says \"two\". Make them equal or remove one."),
        ("two captions, one empty", static f => f.Image("b.png", "one").Text("b.caption", " "), ""),
        ("two equal captions", static f => f.Image("b.png", "one").Text("b.caption", "one \n"), ""),
        (
            "metadata against a caption", static f => f.Image("b.png", "one").Text("metadata.jsonl", """{"file_name": "b.png", "text": "two"}"""),
            "error ConflictingCaption b.png: got different captions: metadata.jsonl says \"two\"; b.txt says \"one\". Make them equal or remove one."),
        (
            "more lines in metadata", static f => f.Image("b.png").Text("metadata.jsonl", """{"file_name": "b.png", "text": "one\ntwo"}"""),
            "warning ExtraCaptionLines b.png: got more than one line in metadata.jsonl, only the first is used: \"one\"."),
        (
            "invisible characters in metadata",
            static f => f.Image("b.png").Text("metadata.jsonl", """{"file_name": "b.png", "text": "o\u200Bne"}"""),
            "warning InvisibleCharacters b.png: got characters that cannot be seen in metadata.jsonl (U+200B once): they are left out, other spaces are " +
            "read as plain ones."),
        (
            "invisible characters", static f => f.Image("b.png", "o\u200Bne"),
            "warning InvisibleCharacters b.txt: got characters that cannot be seen (U+200B once): they are left out, other spaces are read as plain ones."),
        ("caption of 75 tokens", static f => f.Image("b.png", new string('1', 75)), ""),
        (
            "caption of 76 tokens", static f => f.Image("b.png", new string('1', 76)),
            "warning LongCaption b.png: its caption has 76 tokens or more, 75 are seen: what comes after them is not learnt. Shorten it, or set " +
            "Reading.MaxTokenLength for training and MaxTokenLength here."),
        (
            "same name", static f => f.Image("b.png", "b").Bytes("b.jpg", Jpeg),
            "error DuplicateName b.jpg: shares its name with b.png, so that one caption file would serve both. Rename one."),
        (
            "same name thrice", static f => f.Image("b.png", "b").Bytes("b.jpg", Jpeg).Bytes("b.jpeg", Encode(Picture(16, 16, 6), SKEncodedImageFormat.Jpeg)),
            "error DuplicateName b.jpeg: shares its name with b.jpg, b.png, so that one caption file would serve both. Rename one."),
        (
            "same name in other capitals", static f => f.Image("b.png", "b").Bytes("B.jpg", Jpeg).Text("B.txt", "B"),
            "error DuplicateName B.jpg: shares its name with b.png, so that one caption file would serve both. Rename one."),
        (
            "same content", static f => f.Image("b.png", "b", seed: 7).Image("c.png", "c", seed: 7).Image("d.png", "d", seed: 7),
            "warning DuplicateImage b.png: is the same file as c.png, d.png. Keep one; repeats do the same."),
        ("199 repeats", static f => f.Image("200_x/b.png", "b"), ""),
        (
            "year", static f => f.Image("201_x/b.png", "b"),
            "warning ManyRepeats 201_x: the folder's name 201_x asks for that many repeats of each image. If this is not meant, rename it so that it does " +
            "not begin with a number."),
        (
            "several frames",
            static f => f.Bytes("b.webp", ForeignImage.MovingWebP(Flat(16, 16, 1, 2, 3), Flat(16, 16, 4, 5, 6))).Text("b.txt", "b"),
            "warning MovingImage b.webp: got 2 frames, the first is used. Save the others as images of their own if they are meant."),
        (
            "metadata names nothing", static f => f.Text("metadata.jsonl", """{"file_name": "b.png"}"""),
            "error MissingFile b.png: metadata.jsonl names this file, but it does not exist. Add it or remove the line."),
        (
            "metadata names no image", static f => f.Text("b.dat", "words").Text("metadata.jsonl", """{"file_name": "b.dat", "text": "b"}"""),
            "error UnsupportedFile b.dat: got a name that ends in '.dat', expected .png, .jpg, .jpeg, .webp or .bmp. Convert it."),
        (
            "two metadata files",
            static f => f.Image("3_x/b.png").Text(
                "metadata.jsonl", """{"file_name": "3_x/b.png", "text": "b"}""").Text("3_x/metadata.jsonl", """{"file_name": "b.png", "text": "b"}"""),
            "error DuplicateName 3_x/b.png: stands in metadata.jsonl and in 3_x/metadata.jsonl. Keep one of the lines."),
        (
            "metadata in UTF-16", static f => f.Bytes("metadata.jsonl", [0xFF, 0xFE]),
            "error TextEncoding metadata.jsonl: got UTF-16 (it begins with the bytes ff fe or fe ff), expected UTF-8. Save it as UTF-8."),
        (
            "documents",
            static f => Texts(f, "readme.txt License LICENCE.txt notice.txt Copying attribution.txt CREDITS sources.caption"),
            ""),
        (
            "companions",
            static f => Texts(f, "b.md b.JSON b.npz b.safetensors desktop.ini Thumbs.db .hidden"),
            ""),
        (
            "crop beyond the image", static f => f.Image("b.png", "b").Text("metadata.jsonl", """{"file_name": "b.png", "crop": [8, 0, 9, 8]}"""),
            "error InvalidCrop b.png: the crop x 8, y 0, 9×8 reaches beyond the image of 16×16. Correct it in metadata.jsonl."),
        (
            "crop below the image", static f => f.Image("b.png", "b").Text("metadata.jsonl", """{"file_name": "b.png", "crop": [0, 8, 8, 9]}"""),
            "error InvalidCrop b.png: the crop x 0, y 8, 8×9 reaches beyond the image of 16×16. Correct it in metadata.jsonl."),
        ("crop to the edge", static f => f.Image("b.png", "b").Text("metadata.jsonl", """{"file_name": "b.png", "crop": [8, 8, 8, 8]}"""), ""),
    ];

    public static TheoryData<string> Names => [.. Cases.Select(static entry => entry.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Inspect_Fault_SaysWhatItIsAndWhatToDo(string name)
    {
        using var folder = new DatasetFolder();
        var (_, make, expected) = Cases.Single(entry => entry.Name == name);
        make(folder.Image("a.png", "a"));

        var issues = ImageDataset.Inspect(folder.Path).Issues;

        Assert.Equal(
            expected,
            string.Join('\n', issues.Select(static issue => $"{issue.Severity.ToString().ToLowerInvariant()} {issue.Fault} {issue.File}: {issue.Message}")));
    }

    [Theory]
    [InlineData(ImageChecks.Header)]
    [InlineData(ImageChecks.Full)]
    public void Inspect_NoImage_CallsItTheFile(ImageChecks checks)
    {
        using var folder = new DatasetFolder();

        var issue = Assert.Single(ImageDataset.Inspect(folder.Text("b.png", "words").Text("b.txt", "b").Path, new() { Checks = checks }).Issues);

        Assert.Equal(
            (DatasetFault.CorruptImage, "the file is not an image that can be read (PNG, JPEG, WebP, BMP, GIF). Convert it or remove it."),
            (issue.Fault, issue.Message));
    }

    [Fact]
    public void Inspect_CaptionFilesOfOneKind_AreNamedByTheAlphabet()
    {
        using var folder = new DatasetFolder();
        folder.Image("b.png", "one");
        if (File.Exists(folder["b.TXT"]))
        {
            return; // a file system for which capitals are no difference
        }

        var issue = Assert.Single(ImageDataset.Inspect(folder.Text("b.TXT", "two").Path).Issues);

        Assert.Equal("got different captions: b.TXT says \"two\"; b.txt says \"one\". Make them equal or remove one.", issue.Message);
    }

    // Lines of metadata.jsonl that are broken, and what is said of them after "line 2: ".
    [Theory]
    [InlineData("[]", DatasetFault.InvalidMetadata, "got no file_name, expected an object with the image's name as the text file_name.")]
    [InlineData("""{"file_name": ""}""", DatasetFault.InvalidMetadata, "got no file_name, expected an object with the image's name as the text file_name.")]
    [InlineData("""{"file_name": 7}""", DatasetFault.InvalidMetadata, "got no file_name, expected an object with the image's name as the text file_name.")]
    [InlineData("""{"text": "a"}""", DatasetFault.InvalidMetadata, "got no file_name, expected an object with the image's name as the text file_name.")]
    [InlineData(
        """{"file_name": "../b.png"}""", DatasetFault.InvalidMetadata,
        "got the file_name ../b.png, expected one inside this folder. Move the image here.")]
    [InlineData("""{"file_name": "."}""", DatasetFault.InvalidMetadata, "got the file_name ., expected one inside this folder. Move the image here.")]
    [InlineData(
        """{"file_name": "b\u0000.png"}""", DatasetFault.InvalidMetadata,
        "got the file_name b\0.png, expected one inside this folder. Move the image here.")]
    [InlineData("""{"file_name": "b.png", "text": 7}""", DatasetFault.InvalidMetadata, "text: got 7, expected a text in quotes.")]
    [InlineData(
        """{"file_name": "b.png", "crop": [0, 0, 8]}""", DatasetFault.InvalidCrop,
        "crop of b.png: got [0, 0, 8], expected [x, y, width, height] in whole pixels, x and y from 0, width and height from 1.")]
    [InlineData("""{"file_name": "b.png", "crop": [-1, 0, 8, 8]}""", DatasetFault.InvalidCrop, "crop of b.png: got [-1, 0, 8, 8], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": [0, -1, 8, 8]}""", DatasetFault.InvalidCrop, "crop of b.png: got [0, -1, 8, 8], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": [0, 0, 0, 8]}""", DatasetFault.InvalidCrop, "crop of b.png: got [0, 0, 0, 8], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": [0, 0, 8, 0]}""", DatasetFault.InvalidCrop, "crop of b.png: got [0, 0, 8, 0], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": [0, 0, 8.5, 8]}""", DatasetFault.InvalidCrop, "crop of b.png: got [0, 0, 8.5, 8], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": [0, 0, "8", 8]}""", DatasetFault.InvalidCrop, "crop of b.png: got [0, 0, \"8\", 8], expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": "all"}""", DatasetFault.InvalidCrop, "crop of b.png: got \"all\", expected [x")]
    [InlineData("""{"file_name": "b.png", "crop": null, "text": null}""", null, "")]
    [InlineData("""{"file_name": "b.png", "crop": [0, 0, 1, 1]}""", null, "")]
    [InlineData("""{"file_name": "b.png", "regularization": 1}""", DatasetFault.InvalidMetadata, "regularization of b.png: got 1, expected true or false.")]
    [InlineData("""{"file_name": "b.png", "regularization": false, "mirrored": true}""", null, "")]
    [InlineData("""{"file_name": "b.png", "mirrored": null}""", DatasetFault.InvalidMetadata, "mirrored of b.png: got null, expected true or false.")]
    [InlineData(
        """{"file_name": "b.png", "loss_weight": -0.5}""", DatasetFault.InvalidMetadata,
        "loss_weight of b.png: got -0.5, expected a number of 0 or more.")]
    [InlineData("""{"file_name": "b.png", "loss_weight": 0}""", null, "")]
    [InlineData("""{"file_name": "b.png", "repeats": 0}""", DatasetFault.InvalidMetadata, "repeats of b.png: got 0, expected a whole number of 1 or more.")]
    [InlineData("""{"file_name": "b.png", "repeats": 1.5}""", DatasetFault.InvalidMetadata, "repeats of b.png: got 1.5, expected a whole number of 1 or more.")]
    [InlineData("""{"file_name": "b.png", "repeats": 1}""", null, "")]
    [InlineData("""{"file_name": "a.png"}""", DatasetFault.DuplicateName, "a.png stands in line 1 already. Keep one of the lines.")]
    [InlineData("""{"file_name": "b.png", "deep": [{"name": "\uD800"}]}""", DatasetFault.InvalidMetadata, "got no JSON (")]
    [InlineData("""{"file_name": "b.png" """, DatasetFault.InvalidMetadata, "got no JSON (")]
    public void Inspect_LineOfMetadata_IsTakenOrNamedByItsNumber(string line, DatasetFault? fault, string message)
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Image("b.png", "b").Text("metadata.jsonl", """{"file_name": "a.png"}""" + $"\r\n{line}\r\n \r\n");

        var issues = ImageDataset.Inspect(folder.Path).Issues;

        Assert.Equal(fault is null ? [] : [("metadata.jsonl", fault.Value)], issues.Select(static issue => (issue.File, issue.Fault)));
        Assert.All(issues, issue => Assert.StartsWith($"line 2: {message}", issue.Message));
    }

    [Fact]
    public void Inspect_NoJson_ShowsHowALineLooks()
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a").Text("metadata.jsonl", "\n\nwords");

        var message = Assert.Single(ImageDataset.Inspect(folder.Path).Issues).Message;

        Assert.StartsWith(
            "line 3: got no JSON ('w' is an invalid start of a value.), expected an object such as {\"file_name\": \"a.png\", \"text\": \"a caption\"}.",
            message);
    }

    [Theory]
    [InlineData("5_sks cat", 5, "sks cat")]
    [InlineData("5", 1, "")]
    [InlineData("plain", 1, "")]
    [InlineData("2024", 1, "")]
    [InlineData("2024_sks cat", 2024, "sks cat")]
    public void Open_RootCalledLikeARepeatFolder_IsOneWhereItHasAName(string root, int repeats, string caption)
    {
        using var folder = new DatasetFolder();
        folder.Image($"{root}/a.png");

        var dataset = ImageDataset.Open(folder[root], new() { RequireCaptions = false });

        var item = Assert.Single(dataset.Items);
        Assert.Equal((repeats, caption), (item.Repeats, item.Caption));
        Assert.Equal(repeats > 200, dataset.Report.Warnings.Any(static issue => issue.Fault == DatasetFault.ManyRepeats));
    }

    // A picture and perhaps its crop, at a resolution of 16.
    [Theory]
    [InlineData(16, 16, "", true, null)]
    [InlineData(
        15, 40, "", true,
        "TooSmall the image has 15×40 pixels, expected 16 or more on the shorter side. Take a larger one, lower the resolution, or allow upscaling.")]
    [InlineData(40, 15, "", true, "TooSmall the image has 40×15 pixels")]
    [InlineData(40, 40, "[0, 0, 15, 16]", true, "TooSmall its crop has 15×16 pixels")]
    [InlineData(40, 40, "[24, 24, 16, 16]", true, null)]
    [InlineData(15, 15, "", false, "TooSmall the image has 15×15 pixels")]
    [InlineData(24, 18, "", true, null)]
    [InlineData(18, 24, "", true, null)]
    [InlineData(
        25, 18, "", true,
        "LostPicture 28 % of the picture is cut off: of 25×18 pixels the square in the middle is used. Give a crop in metadata.jsonl, or cut the picture " +
        "into squares.")]
    [InlineData(40, 40, "[0, 0, 18, 25]", true, "LostPicture 28 % of its crop is cut off: of 18×25 pixels")]
    public void Open_SizeAndCrop_AreHeldAgainstTheResolution(int width, int height, string crop, bool isRequired, string? expected)
    {
        using var folder = new DatasetFolder();
        folder.Image("a.png", "a", width, height);
        if (crop.Length > 0)
        {
            folder.Text("metadata.jsonl", $$"""{"file_name": "a.png", "crop": {{crop}} }""");
        }

        var issues = ImageDataset.Inspect(folder.Path, new() { Resolution = 16, AllowUpscaling = !isRequired }).Issues;

        Assert.Equal(expected is null ? 0 : 1, issues.Count);
        Assert.All(issues, issue => Assert.StartsWith(expected!, $"{issue.Fault} {issue.Message}"));
        Assert.All(
            issues,
            issue => Assert.Equal(isRequired && issue.Fault == DatasetFault.TooSmall ? DatasetSeverity.Error : DatasetSeverity.Warning, issue.Severity));
    }

    private static void Texts(DatasetFolder folder, string names)
    {
        foreach (var name in names.Split(' '))
        {
            folder.Text(name, "a");
        }
    }
}
