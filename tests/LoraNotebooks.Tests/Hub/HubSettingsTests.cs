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
    [InlineData("", false)]
    public void FromEnvironment_Variables_SayWhetherOffline(string variables, bool expected) => Assert.Equal(expected, Read(variables).Offline);

    [Fact]
    public void FromEnvironment_Endpoint_IsAMirror()
    {
        Assert.Equal("https://mirror.example/hub", Read("HF_ENDPOINT=https://mirror.example/hub/").Endpoint.AbsoluteUri);
        Assert.Equal(HubSettings.DefaultEndpoint, Read("").Endpoint);
        Assert.Contains("HF_ENDPOINT", Assert.Throws<FormatException>(() => Read("HF_ENDPOINT=mirror")).Message);
    }

    [Theory]
    [InlineData("org/name", "main")]
    [InlineData("org/na.me_1-x@refs/pr/3", "refs/pr/3")]
    public void Parse_Id_ReadsNameAndRevision(string text, string revision)
    {
        var id = HubId.Parse(text);

        Assert.Equal(text.Split('@')[0], id.Name);
        Assert.Equal(revision, id.Revision);
    }

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
    public void TryParse_NoId_IsFalse(string text)
    {
        Assert.False(HubId.TryParse(text, out _));
        Assert.Contains("org/name@revision", Assert.Throws<FormatException>(() => HubId.Parse(text)).Message);
    }

    private HubSettings Read(string variables)
    {
        var values = variables.Replace("{home}", _home).Split(';', StringSplitOptions.RemoveEmptyEntries).Select(pair => pair.Split('=', 2)).ToDictionary(pair => pair[0], pair => pair[1]);
        return HubSettings.FromEnvironment(values.GetValueOrDefault, _home);
    }
}
