using LoraNotebooks.Hub;

namespace LoraNotebooks.Tests.Hub;

public sealed class HubSettingsTests : IDisposable
{
    private readonly string _home = Directory.CreateTempSubdirectory("hub-tests-").FullName;

    public void Dispose() => Directory.Delete(_home, recursive: true);

    [Theory]
    [InlineData("", "{home}/.cache/huggingface/hub")]
    [InlineData("XDG_CACHE_HOME={home}/xdg", "{home}/xdg/huggingface/hub")]
    [InlineData("HF_HOME={home}/hf;XDG_CACHE_HOME={home}/xdg", "{home}/hf/hub")]
    [InlineData("HF_HOME=~/hf", "{home}/hf/hub")]
    [InlineData("HF_HOME=$DATA/hf;DATA={home}/data", "{home}/data/hf/hub")]
    [InlineData("HUGGINGFACE_HUB_CACHE={home}/old;HF_HOME={home}/hf", "{home}/old")]
    [InlineData("HF_HUB_CACHE=${DATA}/new;DATA={home}/data;HUGGINGFACE_HUB_CACHE={home}/old", "{home}/data/new")]
    [InlineData("HF_HOME=", "{home}/.cache/huggingface/hub")]
    [InlineData("HF_HUB_CACHE=~", "{home}")]
    [InlineData("HF_HUB_CACHE={home}/~/x", "{home}/~/x")]
    [InlineData("HF_HUB_CACHE={home}/$UNKNOWN/${UNKNOWN}", "{home}/$UNKNOWN/${UNKNOWN}")]
    [InlineData("HF_HUB_CACHE={home}/$A_1-${A_1}x;A_1=b", "{home}/b-bx")]
    [InlineData("HUGGINGFACE_HUB_CACHE=~/old", "{home}/old")]
    [InlineData("XDG_CACHE_HOME=~/xdg", "{home}/xdg/huggingface/hub")]
    public void FromEnvironment_Variables_NameTheCache(string variables, string expected) =>
        Assert.Equal(Path.GetFullPath(expected.Replace("{home}", _home)), Read(variables).CacheFolder);

    [Theory]
    [InlineData("HF_TOKEN=hf_a;HUGGING_FACE_HUB_TOKEN=hf_b", "hf_a")]
    [InlineData("HUGGING_FACE_HUB_TOKEN=hf_b", "hf_b")]
    [InlineData("HF_TOKEN_PATH={home}/elsewhere", "hf_elsewhere")]
    [InlineData("HF_TOKEN= ", "hf_default")]
    [InlineData("", "hf_default")]
    [InlineData("HF_HOME={home}/empty", null)]
    [InlineData("HF_TOKEN=hf_a;HF_HUB_DISABLE_IMPLICIT_TOKEN=1", null)]
    [InlineData("HF_TOKEN=hf_a;HF_HUB_DISABLE_IMPLICIT_TOKEN=0", "hf_a")]
    [InlineData("HF_TOKEN=hf_a;HF_TOKEN_PATH={home}/elsewhere", "hf_a")]
    [InlineData("HF_TOKEN_PATH=~/elsewhere", "hf_elsewhere")]
    [InlineData("HF_TOKEN=two words", "hf_default")]
    [InlineData("HF_TOKEN= hf_a ", "hf_a")]
    [InlineData("HF_TOKEN_PATH={home}/absent", null)]
    [InlineData("HF_TOKEN_PATH={home}", null)]
    public void FromEnvironment_Variables_NameTheToken(string variables, string? expected)
    {
        Directory.CreateDirectory(Path.Combine(_home, ".cache", "huggingface"));
        File.WriteAllText(Path.Combine(_home, ".cache", "huggingface", "token"), "hf_default\n");
        File.WriteAllText(Path.Combine(_home, "elsewhere"), "hf_elsewhere\r\n");

        Assert.Equal(expected, Read(variables).Token?.Value);
    }

    [Theory]
    [InlineData("HF_HUB_OFFLINE=1", true)]
    [InlineData("TRANSFORMERS_OFFLINE=yes", true)]
    [InlineData("HF_HUB_OFFLINE=0;TRANSFORMERS_OFFLINE=1", false)]
    [InlineData("HF_HUB_OFFLINE=;TRANSFORMERS_OFFLINE=1", true)]
    [InlineData("HF_HUB_DISABLE_SYMLINKS=1", false)]
    [InlineData("", false)]
    public void FromEnvironment_Variables_SayWhetherOffline(string variables, bool expected) => Assert.Equal(expected, Read(variables).Offline);

    [Theory]
    [InlineData("1", true)]
    [InlineData("on", true)]
    [InlineData("ON", true)]
    [InlineData("Yes", true)]
    [InlineData("true", true)]
    [InlineData("0", false)]
    [InlineData("off", false)]
    [InlineData("no", false)]
    [InlineData("2", false)]
    [InlineData("", false)]
    public void FromEnvironment_Switches_AreOnForFourWords(string value, bool isOn)
    {
        var settings = Read($"HF_HUB_OFFLINE={value};HF_HUB_DISABLE_SYMLINKS={value};HF_HUB_DISABLE_IMPLICIT_TOKEN={value};HF_TOKEN=hf_a");

        Assert.Equal((isOn, !isOn, !isOn), (settings.Offline, settings.Symlinks, settings.Token is not null));
    }

    [Fact]
    public void FromEnvironment_OfThisProcess_ReadsItsVariables()
    {
        var before = Environment.GetEnvironmentVariable("HF_HUB_CACHE");
        Environment.SetEnvironmentVariable("HF_HUB_CACHE", _home);
        try
        {
            Assert.Equal(_home, HubSettings.FromEnvironment().CacheFolder);
            using var client = new HubClient();
        }
        finally
        {
            Environment.SetEnvironmentVariable("HF_HUB_CACHE", before);
        }
    }

    [Fact]
    public void Settings_WithoutWords_AreThePublicHubWithLinksAndWithoutAToken()
    {
        var settings = new HubSettings { CacheFolder = _home };

        Assert.Equal(("https://huggingface.co/", null, false, true), (settings.Endpoint.AbsoluteUri, settings.Token, settings.Offline, settings.Symlinks));
    }

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("hf a")]
    [InlineData("hf_a\n")]
    [InlineData("hf_\u007F")]
    [InlineData("hf_é")]
    public void Token_ThatNoHeaderCarries_IsRefused(string text)
    {
        var message = Assert.Throws<ArgumentException>(() => new HubToken(text)).Message;

        Assert.Contains($"has {text.Length} characters", message);
        Assert.True(text.Length < 4 || !message.Contains(text));
        Assert.Equal("!~", new HubToken("!~").Value);
    }

    [Fact]
    public void FromEnvironment_Endpoint_IsAMirror()
    {
        Assert.Equal("https://mirror.example/hub", Read("HF_ENDPOINT=https://mirror.example/hub/").Endpoint.AbsoluteUri);
        Assert.Equal(HubSettings.DefaultEndpoint, Read("").Endpoint);
        Assert.Equal("http://127.0.0.1:8080/", Read("HF_ENDPOINT=http://127.0.0.1:8080").Endpoint.AbsoluteUri);
        Assert.Contains("HF_ENDPOINT", Assert.Throws<FormatException>(() => Read("HF_ENDPOINT=mirror")).Message);
        Assert.Contains("HF_ENDPOINT", Assert.Throws<FormatException>(() => Read("HF_ENDPOINT=ftp://mirror.example")).Message);
    }

    [Theory]
    [InlineData("org/name", "main")]
    [InlineData("org/na.me_1-x@refs/pr/3", "refs/pr/3")]
    [InlineData("o/n@v1@2", "v1@2")]
    [InlineData("_o_/n_", "main")]
    [InlineData("org/git", "main")]
    [InlineData("org/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "main")]
    public void Parse_Id_ReadsNameAndRevision(string text, string revision)
    {
        var id = HubId.Parse(text);

        Assert.Equal(text.Split('@')[0], id.Name);
        Assert.Equal(revision, id.Revision);
        Assert.Equal(text, id.ToString());
        Assert.Equal(id, HubId.Parse($"{id}"));
        Assert.Equal(id with { }, id.At(revision));
        Assert.Equal($"{id.Name}@v9", $"{id.At("v9")}");
        Assert.Equal("models--" + id.Name.Replace("/", "--"), id.FolderName);
        Assert.Equal(id.Name, HubId.NameOfFolder(id.FolderName));
    }

    [Theory]
    [InlineData("models--old", "old")]
    [InlineData("models--", null)]
    [InlineData("datasets--org--name", null)]
    [InlineData("", null)]
    public void NameOfFolder_OtherFolders_AreOldModelsOrNone(string folder, string? name) => Assert.Equal(name, HubId.NameOfFolder(folder));

    [Theory]
    [InlineData("name")]
    [InlineData("a/b/c")]
    [InlineData("../name")]
    [InlineData("org/..")]
    [InlineData("org/a--b")]
    [InlineData("org/.hidden")]
    [InlineData("/absolute/path")]
    [InlineData("org\\name")]
    [InlineData("org/name.git")]
    [InlineData("org/name@")]
    [InlineData("org/name@../../x")]
    [InlineData("org/na me")]
    [InlineData("C:/models")]
    [InlineData("")]
    [InlineData("-org/name")]
    [InlineData("org-/name")]
    [InlineData("org/name.")]
    [InlineData("org/a..b")]
    [InlineData("örg/name")]
    [InlineData("org/name\n")]
    [InlineData("org/name@a:b")]
    [InlineData("org/name@v1.")]
    [InlineData("org/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]
    public void TryParse_NoId_IsFalse(string text)
    {
        Assert.False(HubId.TryParse(text, out _));
        Assert.Contains("org/name@revision", Assert.Throws<FormatException>(() => HubId.Parse(text)).Message);
    }

    private HubSettings Read(string variables)
    {
        var values = variables.Replace("{home}", _home).Split(';', StringSplitOptions.RemoveEmptyEntries)
            .Select(pair => pair.Split('=', 2))
            .ToDictionary(pair => pair[0], pair => pair[1]);
        return HubSettings.FromEnvironment(values.GetValueOrDefault, _home);
    }
}
